"""SQLiteCheckpoints: checkpoints beside the log, written in the transaction of their events."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any, Final

import structlog

from dipeo_server.domains.execution.checkpoint import (
    Checkpoint,
    CheckpointTrigger,
    StoredCheckpoint,
    TakenCheckpoint,
    checkpoint_id,
)
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.errors import DamagedCheckpoint
from dipeo_server.storage.chain import checksum, is_checksum
from dipeo_server.storage.codec import stamp, unstamp
from dipeo_server.storage.lineage import SEQ_MAX, Lineage
from dipeo_server.storage.listing import Fetch
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.refusals import no_checkpoint
from dipeo_server.storage.rows import Row
from dipeo_server.storage.writer import BatchConnection, Writer

log = structlog.get_logger(__name__)

_COLUMNS: Final = (
    "at",
    "base",
    "reason",
    "created_at",
    "graph_hash",
    "content_hash",
    "next_node",
    "size_bytes",
)


def checkpoint_row(taken: TakenCheckpoint) -> Row:
    """The columns of a checkpoint but its execution's position."""
    known = taken.checkpoint
    columns = (
        known.at,
        known.base,
        known.trigger.value,
        stamp(known.created_at),
        known.graph_hash,
        known.content_hash,
        known.next_node,
        known.size_bytes,
    )
    return (*columns, taken.payload, checksum(_covered(known.execution_id, columns, taken.payload)))


def is_sound(row: sqlite3.Row) -> bool:
    """Is the row what was written?"""
    columns, payload = [row[name] for name in _COLUMNS], row["payload"]
    if not isinstance(payload, bytes):
        return False
    return is_checksum(row["checksum"], _covered(row["execution_id"], columns, payload))


def _covered(execution_id: str, columns: Sequence[Any], payload: bytes) -> Row:
    return (*columns, blake2b(payload, digest_size=16).hexdigest(), execution_id)


def checkpoint_of(row: sqlite3.Row) -> Checkpoint:
    """What a row tells. Raises DamagedCheckpoint."""
    execution_id, at = ExecutionID(row["execution_id"]), row["at"]
    if not is_sound(row):
        raise DamagedCheckpoint(f"The checkpoint of {execution_id} at {at} is damaged.")
    return Checkpoint(
        id=checkpoint_id(execution_id, Seq(at)),
        execution_id=execution_id,
        at=Seq(at),
        base=Seq(row["base"]),
        trigger=CheckpointTrigger(row["reason"]),
        created_at=unstamp(row["created_at"]),
        graph_hash=row["graph_hash"],
        content_hash=row["content_hash"],
        next_node=row["next_node"],
        size_bytes=row["size_bytes"],
    )


class SQLiteCheckpoints:
    """Checkpoints in the tables of the store that has the writer and the readers."""

    def __init__(
        self,
        writer: Writer,
        fetch: Fetch,
        lineage: Callable[[ExecutionID], Awaitable[Lineage]],
    ) -> None:
        self._writer = writer
        self._fetch = fetch
        self._lineage = lineage
        self._sql = load_queries("checkpoints.sql")

    async def load(
        self, execution_id: ExecutionID, *, upto: Seq | None = None
    ) -> StoredCheckpoint | None:
        """The newest one at or before `upto`, with its parts. Raises DamagedCheckpoint."""
        last = SEQ_MAX if upto is None else upto
        for stretch in reversed(await self._lineage(execution_id)):
            values = (stretch.execution_id, stretch.first, min(stretch.last, last))
            rows = await self._fetch(self._sql["newest_checkpoint"], values)
            if rows:
                return await self._whole(checkpoint_of(rows[0]))
        return None

    async def _whole(self, found: Checkpoint) -> StoredCheckpoint:
        values = (found.execution_id, found.base, found.at)
        rows = await self._fetch(self._sql["checkpoint_parts"], values)
        for row in rows:
            checkpoint_of(row)
        return StoredCheckpoint(found, tuple(row["payload"] for row in rows))

    async def listed(self, execution_id: ExecutionID) -> Sequence[Checkpoint]:
        """Those of the execution itself, oldest first; what is damaged is left out, and logged."""
        found: list[Checkpoint] = []
        for row in await self._fetch(self._sql["checkpoints"], (execution_id,)):
            try:
                found.append(checkpoint_of(row))
            except (DamagedCheckpoint, ValueError, TypeError) as error:
                log.warning("checkpoint_ignored", execution_id=execution_id, error=str(error))
        return found

    async def find(self, execution_id: ExecutionID, at: Seq) -> Checkpoint | None:
        """The one at that sequence, or None. Raises DamagedCheckpoint."""
        rows = await self._fetch(self._sql["newest_checkpoint"], (execution_id, at, at))
        return checkpoint_of(rows[0]) if rows else None

    async def delete(self, execution_id: ExecutionID, at: Seq) -> None:
        """Forget the one at that sequence. Raises NotFound."""

        def work(connection: BatchConnection) -> None:
            values = (execution_id, at)
            if not connection.execute(self._sql["forget_checkpoint"], values).fetchall():
                raise no_checkpoint(execution_id, at)
            connection.execute(self._sql["delete_checkpoints"], (execution_id,))

        await self._writer.commit(work)

    async def prune(self, execution_id: ExecutionID, *, keep: int = 0) -> int:
        """Forget all but the newest `keep`; gives how many those were."""
        forgotten = 0

        def work(connection: BatchConnection) -> None:
            nonlocal forgotten
            values = (execution_id, keep)
            rows = connection.execute(self._sql["forget_checkpoints"], values).fetchall()
            forgotten = len(rows)
            connection.execute(self._sql["delete_checkpoints"], (execution_id,))

        await self._writer.commit(work)
        return forgotten
