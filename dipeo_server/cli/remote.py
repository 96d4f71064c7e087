"""Commands that ask a running server: one way to reach it, to refuse, and to tell the answer."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from dipeo_server.cli.client import GraphQLClient, RequestRefused
from dipeo_server.cli.credentials import shown_token
from dipeo_server.cli.outcome import ExitCode, exit_code_of, tell_error
from dipeo_server.cli.report import write_json
from dipeo_server.errors import DipeoError

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remote:
    """The server at `url`, how its answer is printed, and the idempotency key of a change."""

    url: str
    as_json: bool = False
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a command prints: an object for programs, lines for people."""

    document: Document = field(default_factory=dict)
    lines: Sequence[str] = ()
    code: ExitCode = ExitCode.COMPLETED


class Refused(DipeoError):
    """The server refused, and nothing was changed; `details` are for programs."""

    def __init__(
        self,
        message: str,
        code: str,
        *,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.details = dict(details or {})


class ReaderGone(Exception):
    """Whoever read standard output has left."""


Work: TypeAlias = Callable[[GraphQLClient], Awaitable[Told | None]]
"""What a command does; None where it has written everything itself."""


def carry_out(remote: Remote, work: Work) -> ExitCode:
    """Do the work at the server, print what it tells, and give the exit code."""
    try:
        told = asyncio.run(_with_client(remote.url, work))
        if told is not None:
            _print(told, remote)
            return told.code
    except DipeoError as error:
        tell_error(error)
        if remote.as_json:
            write_json({"error": _error_document(error)})
        return exit_code_of(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except ReaderGone:
        pass
    return ExitCode.COMPLETED


async def _with_client(url: str, work: Work) -> Told | None:
    async with GraphQLClient(url, shown_token()) as client:
        return await work(client)


def _print(told: Told, remote: Remote) -> None:
    if remote.as_json:
        write_json({**told.document, "error": None})
        return
    for line in told.lines:
        write_line(line)


def write_line(line: str) -> None:
    """Write a line to standard output at once. Raises ReaderGone."""
    write_text(f"{line}\n")


def write_text(text: str) -> None:
    """Write to standard output at once. Raises ReaderGone."""
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        # What is left in the buffer would be tried once more at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReaderGone from error


def _error_document(error: DipeoError) -> Document:
    details = error.details if isinstance(error, Refused) else {}
    return {"code": error.code, "message": error.message, "hint": error.hint, **details}


_USER_ERROR: Final = (
    "__typename code message hint field ... on InvalidTransition { current allowed } "
    "... on AlreadyDecided { winner { id nodeKey occurrence status decidedBy decidedAt reason } }"
)
_COMMANDS: Final = {
    "PAUSE": "pause",
    "RESUME": "resume",
    "ABORT": "abort",
    "STEP": "step",
    "FORK": "fork",
    "RETRY_NODE": "retry",
    "SKIP_NODE": "skip",
    "SET_OUTPUT": "set-output",
    "MUTATE": "mutate",
}
"""What the server calls an action, as a command of this program."""


@dataclass(frozen=True, slots=True)
class Change:
    """A mutation: its name, its arguments as GraphQL types, and what is asked of its payload."""

    name: str
    types: Mapping[str, str]
    payload: str

    def document(self, variables: Mapping[str, Any]) -> str:
        """Only what is given is named: the server's own defaults hold for the rest."""
        given = {name: kind for name, kind in self.types.items() if name in variables}
        declared = ", ".join(
            f"${name}: {kind}" for name, kind in {**given, "key": "String"}.items()
        )
        passed = ", ".join([*(f"{name}: ${name}" for name in given), "idempotencyKey: $key"])
        asked = f"{self.payload} errors {{ {_USER_ERROR} }}"
        return f"mutation({declared}) {{ {self.name}({passed}) {{ {asked} }} }}"


async def change(
    client: GraphQLClient, remote: Remote, wanted: Change, variables: Mapping[str, Any]
) -> Document:
    """The payload of a mutation. Raises Refused, RequestRefused, ServerUnreachable."""
    given = {**variables, "key": remote.key or uuid.uuid4().hex}
    payload: Document = (await client.execute(wanted.document(variables), given))[wanted.name]
    for error in payload["errors"]:
        raise _refusal(error)
    return payload


def given(**variables: Any) -> Document:
    """Those that are not None."""
    return {name: value for name, value in variables.items() if value is not None}


def missing(execution_id: str) -> RequestRefused:
    """There is no such run."""
    return RequestRefused(f"There is no execution {execution_id!r}.", "NOT_FOUND")


def _refusal(error: Mapping[str, Any]) -> Refused:
    details = {name: error[name] for name in ("current", "allowed", "winner") if name in error}
    hint = error.get("hint") or _way_out(error.get("allowed"))
    return Refused(error["message"], error["code"], hint=hint, details=details)


def _way_out(allowed: Sequence[str] | None) -> str | None:
    """What can be done instead, as commands; None where nothing is known to help."""
    commands = [_COMMANDS[action] for action in allowed or () if action in _COMMANDS]
    return f"What can be done now: {', '.join(commands)}." if commands else None
