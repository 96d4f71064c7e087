"""The idempotency key of a mutation, as clients send it and as the other rooms take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dipeo_server.api.context import OperationContext, request_hash
from dipeo_server.domains.execution.runner import IdempotencyKey
from dipeo_server.errors import InvalidInput

KEY_CHARACTERS_MAX: Final = 255


def idempotency_key(
    context: OperationContext, mutation: str, arguments: Mapping[str, object], key: str | None
) -> IdempotencyKey | None:
    """The key of this mutation with these arguments; None for none. Raises InvalidInput."""
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        message = f"`idempotencyKey` must have 1 to {KEY_CHARACTERS_MAX} characters."
        raise InvalidInput(message, field=("idempotencyKey",))
    return IdempotencyKey(context.principal, key, mutation, request_hash(mutation, arguments))
