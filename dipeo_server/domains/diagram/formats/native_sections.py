"""The sections of a native document: lists of maps with an id, or maps from id to map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX, as_text
from dipeo_server.domains.diagram.formats.source import Path, Source

# GraphQL servers tell the type of every object in it; it says nothing about the diagram.
TYPENAME: Final = "__typename"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a section; `id` None = it has none, or an unusable one."""

    id: str | None
    raw: dict[str, Any]
    at: Path
    number: int


def items(source: Source, section: str) -> Iterator[Item]:
    """The entries of a section in document order; what is no map, or has a wrong id, is reported.

    In a map from id to map the key is the id, whatever the entry itself says.
    """
    written = source.document.data.get(section)
    match written:
        case None:
            return
        case list():
            entries = [
                (index, as_text(_field(raw, "id")), raw) for index, raw in enumerate(written)
            ]
        case dict():
            entries = [(key, key, raw) for key, raw in written.items() if key != TYPENAME]
        case _:
            message = f"`{section}` must be a list, or a map from id to map."
            source.report("INVALID_FIELD", message, at=(section,))
            return
    for number, (step, id_, raw) in enumerate(entries):
        at: Path = (section, step)
        if not isinstance(raw, dict):
            message = f"Item {number + 1} of `{section}` must be a map."
            source.report("INVALID_FIELD", message, at=at)
        elif id_ is not None and len(id_) > LABEL_CHARACTERS_MAX:
            message = f"An id has more than {LABEL_CHARACTERS_MAX} characters."
            source.report("LABEL_TOO_LONG", message, at=(*at, "id"))
        else:
            yield Item(id_ or None, raw, at, number)


def without_typename(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields without `__typename`."""
    if TYPENAME not in fields:
        return fields
    return {name: value for name, value in fields.items() if name != TYPENAME}


def _field(raw: object, name: str) -> Any:
    return raw.get(name) if isinstance(raw, dict) else None
