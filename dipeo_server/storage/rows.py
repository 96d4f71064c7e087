"""Rows and records: how summaries, log lines and list queries look in SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.ports import ExecutionQuery, ExecutionSummary, LogRecord
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.codec import stamp, unstamp


def summary_row(summary: ExecutionSummary) -> dict[str, Any]:
    """The columns of an execution."""
    usage = summary.token_usage
    return {
        "id": summary.id,
        "status": summary.status.value,
        "last_seq": summary.last_seq,
        "name": summary.name,
        "diagram_id": summary.diagram_id,
        "content_hash": summary.content_hash,
        "parent_id": summary.parent_id,
        "created_at": stamp(summary.created_at) if summary.created_at else None,
        "started_at": stamp(summary.started_at) if summary.started_at else None,
        "ended_at": stamp(summary.ended_at) if summary.ended_at else None,
        "tokens_input": usage.input,
        "tokens_output": usage.output,
        "tokens_cached": usage.cached,
        "error": orjson.dumps(summary.error).decode() if summary.error else None,
        "waiting_barriers": summary.waiting_barriers,
    }


def summary_of(row: sqlite3.Row) -> ExecutionSummary:
    """The summary that a row holds."""
    return ExecutionSummary(
        id=ExecutionID(row["id"]),
        status=ExecutionStatus(row["status"]),
        last_seq=Seq(row["last_seq"]),
        name=row["name"],
        diagram_id=row["diagram_id"],
        content_hash=row["content_hash"],
        parent_id=ExecutionID(row["parent_id"]) if row["parent_id"] else None,
        created_at=unstamp(row["created_at"]) if row["created_at"] else None,
        started_at=unstamp(row["started_at"]) if row["started_at"] else None,
        ended_at=unstamp(row["ended_at"]) if row["ended_at"] else None,
        token_usage=TokenUsage(row["tokens_input"], row["tokens_output"], row["tokens_cached"]),
        error=orjson.loads(row["error"]) if row["error"] else None,
        waiting_barriers=row["waiting_barriers"],
    )


def log_row(execution_id: ExecutionID, line: LogRecord) -> tuple[Any, ...]:
    """The columns of a log line; the store gives the cursor."""
    run = line.node_run
    place = (execution_id, run.node, run.occurrence, run.attempt)
    # Lone surrogates cannot be stored as UTF-8; a line is telemetry, so it is mended, not refused.
    text = line.text.encode("utf-8", "replace").decode()
    return (*place, line.stream, line.level, text, stamp(line.at))


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


_TERMINAL = "('COMPLETED', 'FAILED', 'ABORTED')"


def list_filter(query: ExecutionQuery) -> tuple[list[str], list[Any]]:
    """The WHERE terms of a filter and their values: fixed text, every value bound."""
    terms: list[tuple[str, Sequence[Any]]] = []
    if query.statuses is not None:
        marks = ", ".join("?" for _ in query.statuses) or "NULL"
        terms.append((f"status IN ({marks})", sorted(query.statuses)))
    if query.diagram_id is not None:
        terms.append(("diagram_id = ?", [query.diagram_id]))
    if query.parent_id is not None:
        terms.append(("parent_id = ?", [query.parent_id]))
    if query.is_active is not None:
        terms.append((f"status {'NOT ' if query.is_active else ''}IN {_TERMINAL}", []))
    if query.has_waiting_barriers is not None:
        terms.append((f"waiting_barriers {'>' if query.has_waiting_barriers else '='} 0", []))
    if query.started_after is not None:
        terms.append(("started_at > ?", [stamp(query.started_after)]))
    if query.started_before is not None:
        terms.append(("started_at < ?", [stamp(query.started_before)]))
    return [text for text, _ in terms], [value for _, values in terms for value in values]
