"""Mutations that are refused are written down, too; what is done is written down as it is done."""

from __future__ import annotations

from typing import Any

from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver
from typing_extensions import override

from dipeo_server.errors import DipeoError


class Audited(FieldExtension):
    """Notes what came of a mutation where nothing was committed with it."""

    @override
    async def resolve_async(
        self, next_: AsyncExtensionResolver, source: Any, info: Any, **kwargs: Any
    ) -> Any:
        """The payload of the mutation."""
        try:
            payload = await next_(source, info, **kwargs)
        except Exception as error:
            await _note(info, kwargs, error.code if isinstance(error, DipeoError) else "INTERNAL")
            raise
        refusals = getattr(payload, "errors", None)
        if refusals:
            await _note(info, kwargs, str(refusals[0].code))
        return payload


async def _note(info: Any, arguments: dict[str, Any], outcome: str) -> None:
    context = info.context
    target = arguments.get("id") or arguments.get("execution_id")
    key = arguments.get("idempotency_key")
    await context.note(context.attempt(info.field_name, target, key), outcome)
