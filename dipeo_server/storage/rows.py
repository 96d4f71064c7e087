"""Rows and records: how summaries, answers and log lines look in SQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.ports import (
    ExecutionSummary,
    IdempotentAnswer,
    KeyedAnswer,
    LogRecord,
)
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.chain import checksum, is_checksum
from dipeo_server.storage.codec import json_bytes, stamp, unstamp

Row = tuple[Any, ...]


def summary_row(summary: ExecutionSummary) -> Row:
    """The columns of an execution but its id and its origin, in the order of the queries.

    Their checksum comes last; it covers id and origin as well.
    """
    usage = summary.token_usage
    columns = (
        summary.status.value,
        summary.diagram_id,
        summary.parent_id,
        summary.waiting_barriers,
        summary.last_seq,
        _storable(summary.name) if summary.name is not None else None,
        summary.content_hash,
        stamp(summary.created_at) if summary.created_at is not None else None,
        stamp(summary.started_at) if summary.started_at is not None else None,
        stamp(summary.ended_at) if summary.ended_at is not None else None,
        usage.input,
        usage.output,
        usage.cached,
        json_bytes(summary.error).decode() if summary.error is not None else None,
    )
    return (*columns, checksum((*columns, *_marked(*origin_row(summary)), summary.id)))


def origin_row(summary: ExecutionSummary) -> Row:
    """What an execution is a fork of, and from where on: two columns that never change."""
    return (summary.fork_of, summary.forked_at)


def _marked(fork_of: Any, forked_at: Any) -> Row:
    """An origin as checksums cover it: what is no fork has the one it had before there were any."""
    return () if fork_of is None and forked_at is None else (fork_of, forked_at)


SUMMARY_COLUMNS: Final = (
    "status",
    "diagram_id",
    "parent_id",
    "waiting_barriers",
    "last_seq",
    "name",
    "content_hash",
    "created_at",
    "started_at",
    "ended_at",
    "tokens_input",
    "tokens_output",
    "tokens_cached",
    "error",
)
"""The columns of an execution in the order of `summary_row`."""


def is_sound(row: sqlite3.Row) -> bool:
    """Is the row of an execution what was written?"""
    values = [row[name] for name in SUMMARY_COLUMNS]
    return is_sound_row(values, (row["fork_of"], row["forked_at"]), row["id"], row["checksum"])


def is_sound_row(columns: Sequence[Any], origin: Row, execution_id: Any, own: Any) -> bool:
    """The same of columns in the order of `summary_row`, and the checksum `own`."""
    return is_checksum(own, (*columns, *_marked(*origin), execution_id))


def summary_of(row: sqlite3.Row) -> ExecutionSummary:
    """The summary that a row holds; the row should be sound."""
    return ExecutionSummary(
        id=ExecutionID(row["id"]),
        status=ExecutionStatus(row["status"]),
        last_seq=Seq(row["last_seq"]),
        name=row["name"],
        diagram_id=row["diagram_id"],
        content_hash=row["content_hash"],
        parent_id=ExecutionID(row["parent_id"]) if row["parent_id"] is not None else None,
        created_at=unstamp(row["created_at"]) if row["created_at"] else None,
        started_at=unstamp(row["started_at"]) if row["started_at"] else None,
        ended_at=unstamp(row["ended_at"]) if row["ended_at"] else None,
        token_usage=TokenUsage(row["tokens_input"], row["tokens_output"], row["tokens_cached"]),
        error=json.loads(row["error"]) if row["error"] is not None else None,
        waiting_barriers=row["waiting_barriers"],
        fork_of=ExecutionID(row["fork_of"]) if row["fork_of"] is not None else None,
        forked_at=Seq(row["forked_at"]) if row["forked_at"] is not None else None,
    )


def answer_row(execution_id: ExecutionID, keyed: KeyedAnswer) -> Row:
    """The columns of an idempotency record, their checksum last."""
    used = keyed.idempotency
    columns = (
        used.principal,
        used.key,
        used.mutation,
        used.request_hash,
        execution_id,
        json_bytes(keyed.answer).decode(),
        stamp(used.expires_at),
    )
    return (*columns, checksum(columns))


def answer_of(row: sqlite3.Row) -> IdempotentAnswer:
    """The answer that a row holds."""
    return IdempotentAnswer(
        request_hash=row["request_hash"],
        mutation=row["mutation"],
        execution_id=ExecutionID(row["execution_id"]),
        answer=json.loads(row["answer"]),
    )


def log_row(execution_id: ExecutionID, line: LogRecord) -> Row:
    """The columns of a log line; the store gives the cursor."""
    run = line.node_run
    place = (execution_id, run.node, run.occurrence, run.attempt)
    return (*place, line.stream, line.level, _storable(line.text), stamp(line.at))


def log_record(row: sqlite3.Row) -> LogRecord:
    """The log line that a row holds."""
    return LogRecord(
        node_run=NodeRun(row["node"], row["occurrence"], row["attempt"]),
        stream=row["stream"],
        level=row["level"],
        text=row["text"],
        at=unstamp(row["at"]),
        cursor=row["cursor"],
    )


def _storable(text: str) -> str:
    """Lone surrogates cannot be UTF-8: here they are mended, since nothing is decided by them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
