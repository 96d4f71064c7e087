"""Looking at runs of a server: which there are, their events, what their nodes print."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.durations import in_words, seconds_of
from dipeo_server.cli.event_fields import STORED_WHOLE_EVENTS, WHOLE_EVENTS, renamed
from dipeo_server.cli.events import events, log_lines
from dipeo_server.cli.log_text import LogText
from dipeo_server.cli.operations import EVENTS, EXECUTIONS, LOGS, STORED_EVENTS, STORED_LOGS
from dipeo_server.cli.outcome import ExitCode, Unusable
from dipeo_server.cli.pages import stored
from dipeo_server.cli.remote import Document, Remote, Told, carry_out, given, write_line, write_text
from dipeo_server.cli.report import in_one_line
from dipeo_server.cli.steering import key_of
from dipeo_server.cli.telling import Event, told

PAGE: Final = 100
STATUSES: Final = (
    "PENDING",
    "STARTED",
    "RUNNING",
    "PAUSED",
    "WAITING",
    "COMPLETED",
    "FAILED",
    "ABORTED",
)


def list_executions(remote: Remote, *, status: str | None, is_active: bool, limit: int) -> ExitCode:
    """Tell the newest runs, in one of the statuses where some are named."""

    async def work(client: GraphQLClient) -> Told:
        wanted = given(statuses=_statuses(status), isActive=is_active or None)
        found, total = await _executions(client, wanted, limit)
        lines = [_execution_line(each) for each in found] or ["no runs"]
        left = total - len(found)
        lines += [f"… and {left} older (--limit)"] if left > 0 else []
        return Told({"executions": found, "totalCount": total}, lines)

    return carry_out(remote, work)


async def _executions(
    client: GraphQLClient, wanted: Document, limit: int
) -> tuple[list[Document], int]:
    found: list[Document] = []
    after: str | None = None
    while True:
        first = min(limit - len(found), PAGE)
        variables = {"first": first, "after": after, "filter": wanted}
        page = (await client.execute(EXECUTIONS, variables))["executions"]
        found += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if len(found) >= limit or not page["pageInfo"]["hasNextPage"]:
            return found, page["totalCount"]


def _statuses(text: str | None) -> list[str] | None:
    """`paused,waiting` as statuses. Raises Unusable."""
    if text is None:
        return None
    words = [word.strip().upper() for word in text.split(",")]
    unknown = [word for word in words if word not in STATUSES]
    if unknown:
        hint = f"One or more of: {', '.join(STATUSES).lower()}."
        raise Unusable(f"--status cannot be {unknown[0].lower()!r}.", hint=hint)
    return words


def _execution_line(execution: Mapping[str, Any]) -> str:
    started = execution["startedAt"]
    when = f"{_moment(started):%Y-%m-%d %H:%M:%S}" if started else ""
    took = in_words(seconds_of(execution["duration"]))
    name = (execution["diagram"] or {}).get("name", "")
    error = execution["error"]
    parts = [
        f"{execution['id']}  {execution['status']:<9}  {when:<19}  {took:>10}",
        name,
        f"below {execution['parent']['id']}" if execution["parent"] else "",
        f"{error['code']} at {error['nodeKey']}" if error and error["nodeKey"] else "",
    ]
    return "  ".join(part for part in parts if part).rstrip()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()


def show_events(remote: Remote, execution_id: str, *, after: int, is_following: bool) -> ExitCode:
    """Tell the events of a run: those that are stored, and the rest where it `is_following`."""
    live, kept = (WHOLE_EVENTS, STORED_WHOLE_EVENTS) if remote.as_json else (EVENTS, STORED_EVENTS)

    async def work(client: GraphQLClient) -> None:
        if is_following:
            source = events(client, execution_id, str(after), live)
        else:
            variables = {"id": execution_id, "after": str(after)}
            source = stored(client, kept, "events", variables)
        await _write(source, _event_as_json if remote.as_json else _event_line)

    return carry_out(remote, work)


def show_logs(
    remote: Remote, execution_id: str, *, node: str | None, is_following: bool
) -> ExitCode:
    """Tell what a run's nodes printed, and go on telling where it `is_following`."""

    async def work(client: GraphQLClient) -> None:
        key = None if node is None else await key_of(client, execution_id, node)
        variables = {"id": execution_id, "node": key, "after": None}
        if is_following:
            source = log_lines(client, LOGS, variables)
        else:
            source = stored(client, STORED_LOGS, "logs", variables)
        if remote.as_json:
            await _write(source, in_one_line)
        else:
            await _write_text(source)

    return carry_out(remote, work)


async def _write(
    source: AsyncGenerator[Event, None], line_of: Callable[[Event], str | None]
) -> None:
    async with aclosing(source) as stream:
        async for item in stream:
            line = line_of(item)
            if line is not None:
                write_line(line)


async def _write_text(source: AsyncGenerator[Event, None]) -> None:
    text = LogText()
    async with aclosing(source) as stream:
        async for line in stream:
            write_text(text.of(line))
    write_text(text.end())


def _event_as_json(event: Event) -> str | None:
    # A snapshot stands in for events that are not kept any more; it is none itself.
    return in_one_line(renamed(event)) if "sequence" in event else None


def _named(event: Event) -> str:
    """What is not told while a run is followed, because other events say enough."""
    kind = event["__typename"]
    if kind == "ExecutionStatusChanged":
        return f"{event['from'].lower()} → {event['to'].lower()}"
    subject = event.get("variable") or event.get("nodeKey")
    return f"{kind}  {subject}" if subject else str(kind)


def _event_line(event: Event) -> str | None:
    if "sequence" not in event:
        return None
    what = told(event) or _named(event)
    return f"{event['sequence']:>6}  {_moment(event['timestamp']):%H:%M:%S.%f}  {what}"
