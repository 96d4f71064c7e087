"""Writing a diagram in any of the formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dipeo_server.domains.diagram.formats.detect import FORMATS
from dipeo_server.domains.diagram.formats.light_writer import write_light
from dipeo_server.domains.diagram.formats.native_writer import write_native
from dipeo_server.domains.diagram.formats.readable_writer import write_readable
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.nearest import did_you_mean, listed
from dipeo_server.errors import InvalidInput

_WRITERS: Final[Mapping[str, Callable[[DomainDiagram], str]]] = {
    "light": write_light,
    "native": write_native,
    "readable": write_readable,
}


def write_diagram(diagram: DomainDiagram, format: str) -> str:  # noqa: A002 - the API's word.
    """The diagram as a document; reading it again gives the same diagram.

    Unknown fields, keys, ids and positions are kept. Raises InvalidInput for a format that does
    not exist, and for a diagram with an edge to no node or nested too deeply to be read.
    """
    writer = _WRITERS.get(format.lower())
    if writer is None:
        message = f"{format!r} is no diagram format."
        hint = did_you_mean(format, FORMATS) or f"One of: {listed(FORMATS)}."
        raise InvalidInput(message, field=("format",), hint=hint)
    return writer(diagram)
