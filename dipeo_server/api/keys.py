"""The idempotency key of a mutation, as clients send it and as the other rooms take it."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Final

from dipeo_server.api.context import OperationContext, request_hash
from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.execution.runner import IdempotencyKey
from dipeo_server.errors import InvalidInput

KEY_CHARACTERS_MAX: Final = 255


def idempotency_key(
    context: OperationContext, mutation: str, arguments: Mapping[str, object], key: str | None
) -> IdempotencyKey | None:
    """The key of this mutation with these arguments; None for none. Raises InvalidInput.

    Whoever is known has one for everything: what they do is written down by it.
    """
    attempt = _attempt(context, mutation, arguments, key)
    if key is None:
        if attempt is None:
            return None
        return IdempotencyKey(context.principal, f"auto:{token_hex(16)}", mutation, "", attempt)
    check_key(key)
    same = request_hash(mutation, arguments)
    return IdempotencyKey(context.principal, key, mutation, same, attempt)


def check_key(key: str) -> None:
    """Raises InvalidInput for a key that is empty or too long."""
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        message = f"`idempotencyKey` must have 1 to {KEY_CHARACTERS_MAX} characters."
        raise InvalidInput(message, field=("idempotencyKey",))


def _attempt(
    context: OperationContext, mutation: str, arguments: Mapping[str, object], key: str | None
) -> Attempt | None:
    """What the audit is to tell; None where nobody is asked who they are."""
    if not context.identity.is_known:
        return None
    target = arguments.get("id") or arguments.get("executionId")
    return context.attempt(mutation, target if isinstance(target, str) else None, key)
