"""Which format a document is written in, and reading it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.light import read_light
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.native import read_native
from dipeo_server.domains.diagram.formats.readable import read_readable
from dipeo_server.domains.diagram.nearest import did_you_mean, listed
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec

FORMATS: Final = ("light", "native", "readable")

_SUFFIXES: Final = {
    ".light.yaml": "light",
    ".light.yml": "light",
    ".readable.yaml": "readable",
    ".readable.yml": "readable",
    ".native.json": "native",
    ".json": "native",
}
# A key at the margin; the document itself is parsed only once its format is known.
_NAMED: Final = re.compile(
    r"^(?:version|format)\s*:\s*[\"']?(light|readable|native)\b", re.MULTILINE | re.IGNORECASE
)
_TELLING: Final = {"connections": "light", "flow": "readable", "arrows": "native"}
_READERS: Final[Mapping[str, Callable[..., Loaded]]] = {
    "light": read_light,
    "native": read_native,
    "readable": read_readable,
}


def format_of_fields(document: Any) -> str | None:
    """`light`, `native` or `readable` by the fields of a map; None where they say nothing."""
    if not isinstance(document, Mapping):
        return None
    return next((format_ for field, format_ in _TELLING.items() if field in document), None)


def format_of_name(name: str) -> str | None:
    """`light`, `native` or `readable` by the suffix; None where the suffix says nothing."""
    lowered = name.lower()
    return next((format_ for end, format_ in _SUFFIXES.items() if lowered.endswith(end)), None)


def detect_format(content: str, path: str | None = None) -> str:
    """`light`, `native` or `readable`: from the suffix, else the first brace, else what it says."""
    named_by_file = format_of_name(path or "")
    if named_by_file is not None:
        return named_by_file
    if content.lstrip("\ufeff \t\r\n").startswith("{"):
        return "native"
    named = _NAMED.search(content)
    return named.group(1).lower() if named else "light"


def read_diagram(
    content: str,
    *,
    specs: Mapping[str, NodeSpec],
    format: str | None = None,  # noqa: A002 - the word of the API and of the command line
    path: str | None = None,
) -> Loaded:
    """The diagram in `content`; `format` None = detect. `path` is where the document lies."""
    chosen = detect_format(content, path) if format is None else format.lower()
    reader = _READERS.get(chosen)
    if reader is not None:
        return reader(content, specs=specs, path=path)
    problem = DiagramProblem(
        Severity.ERROR,
        "FORMAT_UNKNOWN",
        f"{chosen!r} is no diagram format.",
        hint=did_you_mean(chosen, FORMATS) or f"One of: {listed(FORMATS)}.",
    )
    return Loaded(None, (problem,))
