"""Tokens from the command line: at a server, or in a store that no server has open."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.durations import iso_of, seconds_of
from dipeo_server.cli.outcome import ExitCode, Unusable, tell
from dipeo_server.cli.remote import Change, Document, Remote, Told, carry_out, change, given
from dipeo_server.cli.report import write_json, write_lines
from dipeo_server.cli.server_settings import settings_from
from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import NewToken, Token, TokenDraft, id_of
from dipeo_server.errors import StoreLocked
from dipeo_server.runtime.access import AccessKeeper
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.storage.opening import open_store, store_path

_FIELDS: Final = (
    "id name role isApprover createdAt createdBy expiresAt revokedAt lastUsedAt isValid"
)
TOKENS: Final = f"{{ tokens {{ {_FIELDS} }} }}"
CREATE: Final = Change("createToken", {"input": "TokenInput!"}, f"text token {{ {_FIELDS} }}")
REVOKE: Final = Change("revokeToken", {"id": "ID!"}, f"token {{ {_FIELDS} }}")
REQUEST: Final = "command line"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tokens are: at the server, if one is named, else in the store."""

    server: str | None
    store: str | None
    base_dir: Path | None
    as_json: bool

    @property
    def remote(self) -> Remote | None:
        """The server. Raises Unusable where a store is named as well."""
        if self.server is None:
            return None
        if self.store is not None or self.base_dir is not None:
            raise Unusable("--server and --store (or --base-dir) exclude one another.")
        return Remote(self.server, as_json=self.as_json)


@dataclass(frozen=True, slots=True)
class Wish:
    """A token to be made, as it was asked for."""

    name: str
    role: str
    is_approver: bool
    expires_in: str | None


def create(place: Place, wish: Wish) -> ExitCode:
    """Make a token; its text is all that is on standard output. Raises Unusable, Rejected."""
    expires_in = None if wish.expires_in is None else iso_of(wish.expires_in, "--expires-in")
    remote = place.remote
    if remote is None:
        return _in_store(place, lambda keeper: _create(keeper, wish, expires_in))

    async def work(client: GraphQLClient) -> Told:
        wanted = given(
            name=wish.name,
            role=wish.role.upper(),
            isApprover=wish.is_approver,
            expiresIn=expires_in,
        )
        payload = await change(client, remote, CREATE, {"input": wanted})
        return _made(payload["text"], payload["token"])

    return carry_out(remote, work)


async def _create(keeper: AccessKeeper, wish: Wish, expires_in: str | None) -> Told:
    seconds = seconds_of(expires_in)
    now = SystemClock().now()
    expires_at = None if seconds is None else now + timedelta(seconds=seconds)
    draft = TokenDraft(wish.name, Role(wish.role), wish.is_approver, expires_at)
    made = await keeper.create(draft, _attempt("createToken"))
    assert isinstance(made, NewToken)  # Only a key could have made it before.
    return _made(made.text, _document(made.token))


def _made(text: str, token: Document) -> Told:
    tell(f"A token of {token['name']!r}: {_allowed(token)}. It is not shown again.")
    return Told({"token": token, "text": text}, [text])


def show(place: Place) -> ExitCode:
    """List all tokens. Raises Unusable, StorageError."""
    remote = place.remote
    if remote is None:
        return _in_store(place, _listed)

    async def work(client: GraphQLClient) -> Told:
        return _table((await client.execute(TOKENS, {}))["tokens"])

    return carry_out(remote, work)


async def _listed(keeper: AccessKeeper) -> Told:
    return _table([_document(each) for each in keeper.all_tokens()])


def revoke(place: Place, token: str) -> ExitCode:
    """Make a token worthless. Raises Unusable, NotFound, StorageError."""
    token_id = id_of(token.strip()) or token.strip()
    remote = place.remote
    if remote is None:
        return _in_store(place, lambda keeper: _revoke(keeper, token_id))

    async def work(client: GraphQLClient) -> Told:
        return _revoked((await change(client, remote, REVOKE, {"id": token_id}))["token"])

    return carry_out(remote, work)


async def _revoke(keeper: AccessKeeper, token_id: str) -> Told:
    return _revoked(_document(await keeper.revoke(token_id, _attempt("revokeToken"))))


def _revoked(token: Document) -> Told:
    return Told({"token": token}, [f"revoked {token['id']} of {token['name']}"])


# --- a store ------------------------------------------------------------------------------------


def _in_store(place: Place, work: Callable[[AccessKeeper], Awaitable[Told]]) -> ExitCode:
    told = asyncio.run(_with_keeper(place, work))
    if place.as_json:
        write_json({**told.document, "error": None})
    else:
        write_lines(told.lines)
    return ExitCode.COMPLETED


async def _with_keeper(place: Place, work: Callable[[AccessKeeper], Awaitable[Told]]) -> Told:
    url = settings_from(store=place.store, base_dir=place.base_dir).store_url
    store_path(url)  # A store in memory has no tokens that a server would ever see.
    async with AsyncExitStack() as opened:
        try:
            store = await open_store(url)
        except StoreLocked as error:
            error.hint = "Ask that server: --server URL, with an admin's token in DIPEO_TOKEN."
            raise
        opened.push_async_callback(store.close)
        keeper = await AccessKeeper.open(store.access, SystemClock())
        opened.push_async_callback(keeper.close)
        return await work(keeper)


def _attempt(operation: str) -> Attempt:
    """Whoever can write the store may do so: they are called by their name on this machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "somebody"
    return Attempt(f"{name} (command line)", None, operation, REQUEST)


# --- for people and programs --------------------------------------------------------------------


def _document(token: Token) -> Document:
    """A token as the API would tell it."""

    def moment(name: str) -> str | None:
        at = getattr(token, name)
        return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.name,
        "isApprover": token.is_approver,
        "createdAt": moment("created_at"),
        "createdBy": token.created_by,
        "expiresAt": moment("expires_at"),
        "revokedAt": moment("revoked_at"),
        "lastUsedAt": moment("last_used_at"),
        "isValid": token.is_valid(SystemClock().now()),
    }


def _table(tokens: list[Document]) -> Told:
    lines = [_line(token) for token in tokens] or ["There are no tokens."]
    return Told({"tokens": tokens}, lines)


def _line(token: Mapping[str, Any]) -> str:
    used = f"used {token['lastUsedAt'][:16]}" if token["lastUsedAt"] else "never used"
    if token["revokedAt"]:
        end = f"revoked {token['revokedAt'][:16]}"
    elif token["expiresAt"]:
        end = f"{'expires' if token['isValid'] else 'expired'} {token['expiresAt'][:16]}"
    else:
        end = "valid"
    return f"{token['id']}  {token['name']:<20} {_allowed(token):<20} {end:<26} {used}".rstrip()


def _allowed(token: Mapping[str, Any]) -> str:
    return f"{token['role'].lower()}{', approver' if token['isApprover'] else ''}"
