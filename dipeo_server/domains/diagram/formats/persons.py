"""Persons as documents and GraphQL inputs write them: a key, and a map of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.extras import unknown_fields, with_unknown_fields
from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.model import DomainPerson, Location

# Fields of a person; everything else is kept in `extra`.
PERSON_FIELDS: Final = ("label", "service", "model", "system_prompt", "prompt_file", "api_key_id")


def unreadable_fields(raw: Mapping[str, Any]) -> list[str]:
    """The fields of a person that should be texts and are maps or lists."""
    fields = _settings(raw)
    return [name for name in PERSON_FIELDS if isinstance(fields.get(name), dict | list)]


def person_of(key: str, raw: Mapping[str, Any], location: Location | None = None) -> DomainPerson:
    """One person. Settings may lie in `llm_config`; those beside it win."""
    fields = _settings(raw)
    texts = {name: as_text(fields.get(name)) or None for name in PERSON_FIELDS}
    usual = DomainPerson(key=key, label=key)
    return DomainPerson(
        key=key,
        label=texts["label"] or key,
        service=(texts["service"] or usual.service).lower(),
        model=texts["model"] or usual.model,
        system_prompt=texts["system_prompt"],
        prompt_file=texts["prompt_file"],
        api_key_id=texts["api_key_id"],
        location=location,
        extra=unknown_fields(fields, PERSON_FIELDS),
    )


def _settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    config = raw.get("llm_config")
    if not isinstance(config, dict):
        return dict(raw)
    return {**config, **{name: value for name, value in raw.items() if name != "llm_config"}}


def written_settings(person: DomainPerson) -> dict[str, str]:
    """The settings of a person that say something, as every format writes them."""
    settings = {
        "service": person.service,
        "model": person.model,
        "api_key_id": person.api_key_id,
        "system_prompt": person.system_prompt,
        "prompt_file": person.prompt_file,
    }
    return {name: value for name, value in settings.items() if value is not None}


def written_person(person: DomainPerson) -> dict[str, Any]:
    """The person as light and readable documents write it below its key."""
    label = {} if person.label == person.key else {"label": person.label}
    own = (*PERSON_FIELDS, "llm_config")
    return with_unknown_fields({**label, **written_settings(person)}, person.extra, own)
