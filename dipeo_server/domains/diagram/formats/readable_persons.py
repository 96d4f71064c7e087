"""The `persons` of a readable document: a list of maps, by name or with an id of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.native_persons import person_settings
from dipeo_server.domains.diagram.formats.persons import person_of, unreadable_fields
from dipeo_server.domains.diagram.formats.source import Path, Source, shown
from dipeo_server.domains.diagram.model import DomainPerson
from dipeo_server.domains.diagram.problem import Severity

# Older documents refer to the person `Judge` as `person_Judge`.
PREFIX: Final = "person_"

_HINT: Final = "Write `- Name:` with `service:` and `model:` below it, indented further."


def read_persons(source: Source) -> tuple[DomainPerson, ...]:
    """The persons; what is no map of settings is reported and left out.

    The key of each is its name, or its id where it has one.
    """
    persons: dict[str, DomainPerson] = {}
    for key, raw, at in _entries(source):
        if not isinstance(raw, dict):
            source.report(
                "PERSON_IGNORED",
                f"The person {shown(key)} has no map of settings and is left out.",
                at=at,
                hint=_HINT,
                severity=Severity.WARNING,
            )
        elif key in persons:
            message = f"Two persons have the name {shown(key)}."
            source.report("DUPLICATE_KEY", message, at=at, hint="Rename one of them.")
        else:
            for name in unreadable_fields(raw):
                message = f"{key}: `{name}` must be a text."
                source.report("INVALID_FIELD", message, at=(*at, name))
            persons[key] = person_of(key, raw, source.document.location(*at))
    return tuple(persons.values())


def names_of(persons: Iterable[DomainPerson]) -> frozenset[str]:
    """What nodes may call these persons."""
    return frozenset(name for person in persons for name in (person.key, person.label))


def meant_person(written: object, names: Collection[str]) -> object:
    """The person that a node means: `person_Judge` is Judge if nobody is called so."""
    if not isinstance(written, str) or not written.startswith(PREFIX):
        return written
    name = written.removeprefix(PREFIX)
    return name if written not in names and name in names else written


def _entries(source: Source) -> Iterator[tuple[str, Any, Path]]:
    """Key, settings and place of every person."""
    section = source.document.data.get("persons")
    match section:
        case None:
            return
        case dict():
            for key, raw in section.items():
                yield key, raw, ("persons", key)
        case list():
            for index, item in enumerate(section):
                yield from _listed(source, item, ("persons", index))
        case _:
            message = "`persons` must be a list of maps."
            source.report("INVALID_FIELD", message, at=("persons",), hint=_HINT)


def _listed(source: Source, item: object, at: Path) -> Iterator[tuple[str, Any, Path]]:
    if isinstance(item, dict) and len(item) == 1:
        [(key, raw)] = item.items()
        yield key, raw, (*at, key)
    elif isinstance(item, dict) and _own_key(item):
        yield str(_own_key(item)), person_settings(item), at
    else:
        message = f"Item {int(at[1]) + 1} of `persons` tells no name."
        source.report("INVALID_FIELD", message, at=at, hint=_HINT)


def _own_key(item: Mapping[str, Any]) -> str | None:
    return as_text(item.get("id")) or as_text(item.get("label")) or None
