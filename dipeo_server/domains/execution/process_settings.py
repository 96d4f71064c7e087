"""What nodes that run processes have in common: the environment that their props give."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator

from dipeo_server.domains.execution.ports import Secrets
from dipeo_server.domains.execution.secret_references import SecretText
from dipeo_server.errors import CodeError

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _as_text(written: Any) -> Any:
    """Numbers and booleans as YAML writes them; no variables at all for null."""
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        return written
    return {name: _scalar(value) for name, value in written.items()}


def _scalar(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _named_well(environment: Mapping[str, str]) -> Mapping[str, str]:
    for name in environment:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an environment variable")
    return environment


EnvironmentSettings = Annotated[
    Mapping[str, str], BeforeValidator(_as_text), AfterValidator(_named_well)
]
"""`env:` of a node: names and texts; numbers and booleans are taken as texts."""


async def filled_environment(
    environment: Mapping[str, str], secrets: Secrets
) -> dict[str, SecretText]:
    """The variables with what their references stand for. Raises SecretMissing, CodeError."""
    found = {name: await secrets.fill(text) for name, text in environment.items()}
    for name, text in found.items():
        if "\0" in text.reveal():
            raise CodeError(f"The variable {name} holds a NUL character, which none can.")
    return found
