"""Mutations that make and revoke tokens."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.keys import check_key
from dipeo_server.api.types.access import TokenInput, TokenPayload, token_of
from dipeo_server.api.types.arguments import Key
from dipeo_server.api.types.control_inputs import span_of
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.problems import REFUSALS, user_error
from dipeo_server.domains.access.ports import Access
from dipeo_server.domains.access.tokens import NewToken, TokenDraft
from dipeo_server.errors import InvalidState

Wanted: TypeAlias = Annotated[TokenInput, strawberry.argument(description="The token to make.")]
TokenArgument: TypeAlias = Annotated[strawberry.ID, strawberry.argument(description="Its id.")]


@object_type
class TokenMutation:
    """Everything that changes who may do what."""

    @mutation
    async def create_token(
        self, info: Info, input: Wanted, idempotency_key: Key = None
    ) -> TokenPayload:
        """Make a token. Its text is told this once: a repeated key gives the token without it."""
        context = info.context
        attempt = context.attempt("createToken", None, idempotency_key)
        try:
            access = _access(context)
            if idempotency_key is not None:
                check_key(idempotency_key)
            made = await access.create(_draft(input, context), attempt, idempotency_key)
        except REFUSALS as refusal:
            return TokenPayload(errors=[user_error(refusal, None, None)])
        now = context.services.now()
        if isinstance(made, NewToken):
            return TokenPayload(token=token_of(made.token, now), text=made.text)
        return TokenPayload(token=token_of(made, now))

    @mutation
    async def revoke_token(
        self, info: Info, id: TokenArgument, idempotency_key: Key = None
    ) -> TokenPayload:
        """Make a token worthless at once: what is connected by it is cut off."""
        context = info.context
        attempt = context.attempt("revokeToken", str(id), idempotency_key)
        try:
            token = await _access(context).revoke(str(id), attempt)
        except REFUSALS as refusal:
            return TokenPayload(errors=[user_error(refusal, None, None)])
        return TokenPayload(token=token_of(token, context.services.now()))


def _access(context: OperationContext) -> Access:
    if context.services.access is None:
        hint = "Start it with --auth token, or use `dipeo-server tokens --store` beside no server."
        raise InvalidState("This server asks nobody for a token.", hint=hint)
    return context.services.access


def _draft(given: TokenInput, context: OperationContext) -> TokenDraft:
    """The wish for a token. Raises InvalidInput."""
    expires_at = None
    if given.expires_in is not None:
        span = span_of(given.expires_in, ("input", "expiresIn"))
        expires_at = context.services.now() + span
    return TokenDraft(given.name, given.role, bool(given.is_approver), expires_at)
