"""Lines that nodes print: telemetry beside the event log."""

from __future__ import annotations

from datetime import datetime

import strawberry

from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.enums import LogLevel
from dipeo_server.api.types.paging import PageInfo
from dipeo_server.domains.execution.ports import LogRecord
from dipeo_server.errors import InvalidInput


@object_type
class LogLine:
    """One line that a node printed."""

    cursor: str = strawberry.field(description="Its place; pass it as `after` to go on behind it.")
    node_key: str = strawberry.field(description="Key of the node.")
    occurrence: int = strawberry.field(description="Which visit, from 1.")
    attempt: int = strawberry.field(description="Which attempt of it, from 1.")
    stream: str = strawberry.field(description="stdout, stderr, or what the node calls it.")
    level: LogLevel = strawberry.field(description="How much it matters.")
    text: str = strawberry.field(description="The line, without its end.")
    timestamp: datetime = strawberry.field(description="When it was printed.")


@object_type
class LogConnection:
    """A page of lines, in order."""

    nodes: list[LogLine] = strawberry.field(description="The lines.")
    page_info: PageInfo = strawberry.field(description="Where the page lies.")


def log_line(record: LogRecord) -> LogLine:
    """The GraphQL value of a stored line."""
    level = record.level.upper()
    return LogLine(
        cursor=str(record.cursor),
        node_key=record.node_run.node,
        occurrence=record.node_run.occurrence,
        attempt=record.node_run.attempt,
        stream=record.stream,
        level=LogLevel(level) if level in set(LogLevel) else LogLevel.INFO,
        text=record.text,
        timestamp=record.at,
    )


def place_of(cursor: str | None) -> int:
    """The place behind which to go on. Raises InvalidInput for what is no cursor."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        hint = "Pass a cursor as the server gave it."
        raise InvalidInput("`after` is no cursor of a log.", field=("after",), hint=hint)
    return int(cursor)
