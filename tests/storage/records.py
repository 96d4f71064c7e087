"""What the tests of stores put into them: executions, their events, keys and lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from dipeo_server.domains.execution.checkpoint import (
    Checkpoint,
    CheckpointTrigger,
    TakenCheckpoint,
    checkpoint_id,
)
from dipeo_server.domains.execution.events import NodeStarted, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.ports import (
    ExecutionSummary,
    Idempotency,
    KeyedAnswer,
    LogRecord,
    StateStore,
)
from dipeo_server.domains.execution.status import ExecutionStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def execution(number: int) -> ExecutionID:
    return ExecutionID(f"exec_0_{number:026d}")


ONE, TWO = execution(1), execution(2)


def events(count: int, *, after: int = 0, at: datetime = NOON) -> list[Recorded]:
    """So many events behind `after`, no two alike."""
    return [
        Recorded(Seq(seq), at, NodeStarted(NodeRun(f"node {seq}", seq)))
        for seq in range(after + 1, after + count + 1)
    ]


def row(
    execution_id: ExecutionID,
    last_seq: int,
    status: ExecutionStatus = ExecutionStatus.RUNNING,
    **columns: Any,
) -> ExecutionSummary:
    return ExecutionSummary(execution_id, status, Seq(last_seq), **columns)


async def extend(
    store: StateStore,
    execution_id: ExecutionID,
    count: int = 1,
    *,
    after: int = 0,
    at: datetime = NOON,
    keys: Sequence[KeyedAnswer] = (),
    **columns: Any,
) -> list[Recorded]:
    """Append so many events, and give them back."""
    new = events(count, after=after, at=at)
    summary = row(execution_id, after + count, **columns)
    await store.append(execution_id, new, after=Seq(after), summary=summary, answers=keys)
    return new


def keyed(
    key: str,
    *,
    principal: str = "anna",
    request_hash: str = "hash",
    expires_at: datetime = NOON + timedelta(hours=24),
) -> KeyedAnswer:
    """What a mutation with that key is answered."""
    idempotency = Idempotency(principal, key, "runDiagram", request_hash, expires_at)
    return KeyedAnswer(idempotency, {"sequence": 1, "of": key})


def line(text: str, *, node: str = "a", stream: str = "stdout") -> LogRecord:
    return LogRecord(NodeRun(node, 1), stream, "INFO", text, NOON)


def taken(
    execution_id: ExecutionID, at: int, *, base: int | None = None, payload: bytes = b"{}"
) -> TakenCheckpoint:
    """A checkpoint at that sequence; whole, or a difference to the one before it."""
    known = Checkpoint(
        id=checkpoint_id(execution_id, Seq(at)),
        execution_id=execution_id,
        at=Seq(at),
        base=Seq(base or at),
        trigger=CheckpointTrigger.EVERY_STEP,
        created_at=NOON + timedelta(seconds=at),
        graph_hash="graph",
        content_hash="content",
        next_node=None if at == 1 else f"node {at}",
        size_bytes=len(payload),
    )
    return TakenCheckpoint(known, payload)
