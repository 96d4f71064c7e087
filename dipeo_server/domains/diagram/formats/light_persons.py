"""The `persons` of a light document."""

from __future__ import annotations

from typing import Final

from dipeo_server.domains.diagram.formats.persons import person_of, unreadable_fields
from dipeo_server.domains.diagram.formats.source import Source
from dipeo_server.domains.diagram.model import DomainPerson
from dipeo_server.domains.diagram.problem import Severity

_HINT: Final = "Write `Name:` with `service:` and `model:` below it."


def read_persons(source: Source) -> tuple[DomainPerson, ...]:
    """The persons; values that are no map are reported and left out."""
    section = source.document.data.get("persons")
    if section is None:
        return ()
    if not isinstance(section, dict):
        message = "`persons` must be a map from names to settings."
        source.report("INVALID_FIELD", message, at=("persons",), hint=_HINT)
        return ()
    persons = []
    for key, raw in section.items():
        if isinstance(raw, dict):
            place = source.document.location("persons", key)
            persons.append(person_of(key, raw, place))
            for name in unreadable_fields(raw):
                message = f"{key}: `{name}` must be a text."
                source.report("INVALID_FIELD", message, at=("persons", key, name))
        else:
            source.report(
                "PERSON_IGNORED",
                f"The person {key!r} has no map of settings and is left out.",
                at=("persons", key),
                hint=_HINT,
                severity=Severity.WARNING,
            )
    return tuple(persons)
