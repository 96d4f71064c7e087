"""Which field names a props model declares, aliases included."""

from __future__ import annotations

from functools import lru_cache

from pydantic import AliasChoices, AliasPath, BaseModel


@lru_cache(maxsize=512)
def declared_fields(model: type[BaseModel]) -> frozenset[str]:
    """Every name under which an author may write a field of `model`."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names.add(name)
        if field.alias is not None:
            names.add(field.alias)
        names.update(_alias_names(field.validation_alias))
    return frozenset(names)


def _alias_names(alias: str | AliasPath | AliasChoices | None) -> set[str]:
    match alias:
        case None:
            return set()
        case str():
            return {alias}
        case AliasChoices(choices=choices):
            return {name for choice in choices for name in _alias_names(choice)}
        case AliasPath(path=path):
            return {str(path[0])}
