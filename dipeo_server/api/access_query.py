"""Queries about who asks, tokens, and the audit."""

from __future__ import annotations

from dipeo_server.api.context import Info
from dipeo_server.api.types.access import (
    AuditConnection,
    Principal,
    Token,
    audit_entry,
    principal_of,
    token_of,
)
from dipeo_server.api.types.arguments import After, First
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.paging import PAGE_DEFAULT, PageInfo, page_size
from dipeo_server.errors import InvalidInput


@object_type
class AccessQueries:
    """Everything that can be asked about access."""

    @computed
    def me(self, info: Info) -> Principal:
        """Whoever asks, and what they may do."""
        return principal_of(info.context.identity)

    @computed
    def tokens(self, info: Info) -> list[Token]:
        """All tokens that were ever made, the oldest first; none where nobody is asked for one."""
        access, now = info.context.services.access, info.context.services.now()
        return [token_of(each, now) for each in (access.all_tokens() if access is not None else ())]

    @computed
    async def audit(
        self, info: Info, first: First = PAGE_DEFAULT, after: After = None
    ) -> AuditConnection:
        """Who did, or tried to do, what: the newest first. Empty where nobody is asked who."""
        size = page_size(first, default=PAGE_DEFAULT, name="first")
        access = info.context.services.access
        before = _position(after)
        found = () if access is None else await access.entries(before=before, limit=size + 1)
        nodes = [audit_entry(entry) for entry in found[:size]]
        return AuditConnection(
            nodes=nodes,
            page_info=PageInfo(
                has_next_page=len(found) > size,
                has_previous_page=before is not None,
                start_cursor=nodes[0].cursor if nodes else None,
                end_cursor=nodes[-1].cursor if nodes else None,
            ),
        )


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        message = f"`after` is no cursor of the audit: {cursor!r}."
        raise InvalidInput(message, field=("after",), hint="Take a cursor from a page of it.")
    return int(cursor)
