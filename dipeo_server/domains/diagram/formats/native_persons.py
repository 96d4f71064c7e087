"""The `persons` of a native document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.native_sections import TYPENAME, items, without_typename
from dipeo_server.domains.diagram.formats.persons import person_of, unreadable_fields
from dipeo_server.domains.diagram.formats.source import Source
from dipeo_server.domains.diagram.model import DomainPerson

# Fields of a person itself; the settings lie in `llm_config`.
PERSON_FIELDS: Final = frozenset({"id", "label", "type", "llm_config", TYPENAME})


def read_persons(source: Source) -> tuple[DomainPerson, ...]:
    """The persons; the key of each is its id, or its label where it has no id."""
    persons: dict[str, DomainPerson] = {}
    for item in items(source, "persons"):
        key = item.id or as_text(item.raw.get("label"))
        if not key:
            message = f"Person {item.number + 1} has no id."
            source.report("MISSING_ID", message, at=item.at, hint='Give it an `"id"`.')
        elif key in persons:
            message = f"Two persons have the id {key!r}."
            source.report("DUPLICATE_KEY", message, at=item.at)
        else:
            settings = person_settings(item.raw)
            for name in unreadable_fields(settings):
                message = f"{key}: `{name}` must be a text."
                source.report("INVALID_FIELD", message, at=(*item.at, name))
            persons[key] = person_of(key, settings, source.document.location(*item.at))
    return tuple(persons.values())


def person_settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a map `{id, label, type: person, llm_config}`."""
    fields = {name: value for name, value in without_typename(raw).items() if name != "id"}
    if fields.get("type") == "person":
        del fields["type"]
    config = fields.get("llm_config")
    if isinstance(config, dict):
        fields["llm_config"] = without_typename(config)
    return fields
