"""A real server that asks for tokens, with one for everybody whom a test needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from dipeo_server.api.context import ApiLimits
from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.access.ports import Access
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import NewToken, Token, TokenDraft
from tests.api.serving import Live, Socket, serving

MANY = ApiLimits(mutations_per_second=100_000, starts_per_second=100_000)
"""For tests that ask for more than a person would."""

BY_TEST = Attempt("test", None, "createToken", "test")


@dataclass
class Guarded:
    """The server, as somebody; `as_of` gives it as somebody else."""

    live: Live
    text: str | None = None

    @property
    def access(self) -> Access:
        assert self.live.services.access is not None
        return self.live.services.access

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.text is None else {"authorization": f"Bearer {self.text}"}

    async def token(
        self,
        role: Role | str,
        name: str | None = None,
        *,
        is_approver: bool = False,
        expires_at: datetime | None = None,
    ) -> NewToken:
        """A token of that role."""
        draft = TokenDraft(name or str(role), Role(role), is_approver, expires_at)
        made = await self.access.create(draft, BY_TEST)
        assert isinstance(made, NewToken)
        return made

    async def somebody(self, role: Role | str, name: str | None = None, **options: Any) -> Guarded:
        """The server as somebody with a new token."""
        return replace(self, text=(await self.token(role, name, **options)).text)

    async def post(self, query: str, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables}
        return await self.live.http.post(self.live.url, json=body, headers=self.headers)

    async def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await self.post(query, **variables)).json()
        return found

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = await self.answer(query, **variables)
        assert "errors" not in answer, answer["errors"]
        found: dict[str, Any] = answer["data"]
        return found

    async def code(self, query: str, **variables: Any) -> str | None:
        """The code of the first error; None if there is none."""
        errors = (await self.answer(query, **variables)).get("errors", [])
        return errors[0]["extensions"]["code"] if errors else None

    async def me(self) -> Token:
        found = self.access.token_of(self.text or "")
        assert found is not None
        return found

    async def audit(self) -> list[dict[str, Any]]:
        """What the audit tells, the oldest first, without what the test itself has done."""
        entries = await self.access.entries(before=None, limit=1_000)
        return [
            {
                "who": entry.attempt.principal,
                "did": entry.attempt.operation,
                "to": entry.attempt.target,
                "key": entry.attempt.key,
                "token": entry.attempt.token_id,
                "came": entry.outcome,
            }
            for entry in reversed(entries)
            if entry.attempt.principal != BY_TEST.principal
        ]

    @asynccontextmanager
    async def socket(self, payload: dict[str, Any] | None = None) -> AsyncIterator[Socket]:
        """A WebSocket that has said who it is, as `payload` or by its own token."""
        said = {"authorization": self.headers.get("authorization")} if payload is None else payload
        async with self.live.raw_socket() as connection:
            client = Socket(connection)
            await client.send({"type": "connection_init", "payload": said})
            yield client


@asynccontextmanager
async def guarded(
    base_dir: Path, *, store: str = "memory:", limits: ApiLimits = MANY, **options: Any
) -> AsyncIterator[Guarded]:
    """Serve on a free port, asking everybody who they are."""
    async with serving(base_dir, store=store, limits=limits, auth="token", **options) as live:
        yield Guarded(live)
