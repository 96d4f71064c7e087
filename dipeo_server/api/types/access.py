"""Who asks, tokens, and the audit, as the schema has them."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry

from dipeo_server.api.types.described import input_type, object_type
from dipeo_server.api.types.enums import describe
from dipeo_server.api.types.paging import PageInfo
from dipeo_server.api.types.problems import UserError
from dipeo_server.domains.access import principal, tokens
from dipeo_server.domains.access.audit import AuditEntry as StoredEntry
from dipeo_server.domains.access.roles import Role

describe(
    Role,
    "What somebody may do; each may do all that the ones before it may.",
    {
        Role.VIEWER: "Look at everything.",
        Role.OPERATOR: "Run stored diagrams, and steer runs.",
        Role.AUTHOR: "Write diagrams, run them unstored, and change the graphs of runs.",
        Role.ADMIN: "Make and revoke tokens, read the audit, delete runs.",
    },
)


@object_type
class Principal:
    """Whoever asks."""

    name: str = strawberry.field(description="The actor of everything they do.")
    role: Role = strawberry.field(description="What they may do.")
    is_approver: bool = strawberry.field(description="May they decide barriers?")


@object_type
class Token:
    """What is known of a token; never its text."""

    id: strawberry.ID = strawberry.field(description="Its id, which is the first part of its text.")
    name: str = strawberry.field(description="Whose it is: the actor of all that is done with it.")
    role: Role = strawberry.field(description="What it allows.")
    is_approver: bool = strawberry.field(description="Does it allow to decide barriers?")
    created_at: datetime = strawberry.field(description="When it was made.")
    created_by: str = strawberry.field(description="Who made it.")
    expires_at: datetime | None = strawberry.field(description="When it ends; null = never.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked, if it was.")
    last_used_at: datetime | None = strawberry.field(
        description="When it was used last, to the minute; null = never."
    )
    is_valid: bool = strawberry.field(description="Does it still open anything?")


@input_type
class TokenInput:
    """A token to be made."""

    name: str = strawberry.field(
        description="Whose it is: the actor of all that is done with it. Several may have one name."
    )
    role: Role = strawberry.field(description="What it allows.")
    is_approver: bool | None = strawberry.field(
        default=False, description="Does it allow to decide barriers? No role does by itself."
    )
    expires_in: timedelta | None = strawberry.field(
        default=None, description="How long it is valid; null = until it is revoked."
    )


@object_type
class TokenPayload:
    """A token, or why nothing was done."""

    token: Token | None = strawberry.field(
        default=None, description="The token behind the change; null where it was refused."
    )
    text: str | None = strawberry.field(
        default=None,
        description="Its text, which is told this once; null for one that was there already.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was done; empty where it was."
    )


@object_type
class AuditEntry:
    """Somebody did something, or tried to."""

    cursor: str = strawberry.field(description="Its place in the audit: 1, 2, 3 … without gaps.")
    at: datetime = strawberry.field(description="When.")
    principal: str = strawberry.field(description="Who; empty = nobody who is known.")
    token_id: strawberry.ID | None = strawberry.field(description="By which token.")
    operation: str = strawberry.field(
        description="The mutation, or the field that was denied; `authenticate` for a wrong token."
    )
    target: str | None = strawberry.field(description="What it was about: an id, or an address.")
    request_id: strawberry.ID = strawberry.field(description="The request or socket it came by.")
    key: str | None = strawberry.field(description="The idempotency key that was given.")
    outcome: str = strawberry.field(description="DONE, or the code of the error it was refused by.")


@object_type
class AuditConnection:
    """A page of the audit, the newest first."""

    nodes: list[AuditEntry] = strawberry.field(description="The entries of this page.")
    page_info: PageInfo = strawberry.field(description="What lies around this page.")


def principal_of(who: principal.Principal) -> Principal:
    """Whoever asks, as a value of the schema."""
    return Principal(name=who.name, role=who.role, is_approver=who.is_approver)


def token_of(token: tokens.Token, now: datetime) -> Token:
    """A token as a value of the schema."""
    return Token(
        id=strawberry.ID(token.id),
        name=token.name,
        role=token.role,
        is_approver=token.is_approver,
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_at=token.last_used_at,
        is_valid=token.is_valid(now),
    )


def audit_entry(entry: StoredEntry) -> AuditEntry:
    """An entry as a value of the schema."""
    attempt = entry.attempt
    return AuditEntry(
        cursor=str(entry.position),
        at=entry.at,
        principal=attempt.principal,
        token_id=None if attempt.token_id is None else strawberry.ID(attempt.token_id),
        operation=attempt.operation,
        target=attempt.target,
        request_id=strawberry.ID(attempt.request_id),
        key=attempt.key,
        outcome=entry.outcome,
    )
