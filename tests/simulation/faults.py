"""What goes wrong: disks that are slow, full or unreadable, and processes that die at any point."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from dipeo_server.domains.execution.blobs import BlobRef, Blobs
from dipeo_server.domains.execution.checkpoint import TakenCheckpoint
from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice, CheckpointStore
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import (
    Event,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
    NodeCompleted,
    NodeOutputSet,
    NodeReported,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.ports import (
    ExecutionPage,
    ExecutionQuery,
    ExecutionSummary,
    IdempotentAnswer,
    KeyedAnswer,
    LogRecord,
)
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StorageError, StorageFull
from dipeo_server.storage.codec import EventCodec
from dipeo_server.storage.memory import MemoryStore

CODEC = EventCodec()


class CrashPoint(StrEnum):
    """Where a process dies."""

    BEFORE_APPEND = "before an append"
    DURABLE = "durable, append not returned"
    APPENDED = "append returned, nobody told"
    PUBLISHED = "a subscriber was told"
    ANSWERED = "a client was answered"
    ENTERED = "before a handler starts"
    BEFORE_EFFECT = "in a handler, before its effect"
    AFTER_EFFECT = "in a handler, after its effect"
    POSTED = "result posted, not received"
    BEFORE_BLOB = "before a large body is kept"
    RECOVERING = "while recovering"
    ANYWHERE = "between any two callbacks"


class Fate:
    """Which processes die, and where: the n-th time that somebody comes by a point."""

    def __init__(self, dooms: Sequence[tuple[CrashPoint, int]]) -> None:
        self._dooms = list(dooms)
        self._passed: Counter[CrashPoint] = Counter()
        self.kills: Counter[CrashPoint] = Counter()
        self.kill: Callable[[CrashPoint], None] = lambda _: None
        self.do_behind: Callable[[Callable[[], None]], None] = lambda _: None
        self.is_over = False

    async def passes(self, point: CrashPoint) -> None:
        """Somebody comes by: the process may die here, and then this never returns."""
        if self._is_due(point):
            self._strike(point)
            await asyncio.get_running_loop().create_future()

    def passes_behind(self, point: CrashPoint) -> None:
        """The process may die as soon as the callback that is running has ended."""
        if self._is_due(point):
            self.do_behind(lambda: self._strike(point))

    def steps(self) -> None:
        """A callback of a process has ended."""
        if self._is_due(CrashPoint.ANYWHERE):
            self._strike(CrashPoint.ANYWHERE)

    def _is_due(self, point: CrashPoint) -> bool:
        self._passed[point] += 1
        doom = (point, self._passed[point])
        if self.is_over or doom not in self._dooms:
            return False
        self._dooms.remove(doom)
        return True

    def _strike(self, point: CrashPoint) -> None:
        self.kills[point] += 1
        self.kill(point)


@dataclass(frozen=True, slots=True)
class Trouble:
    """From when to when something does not work, in virtual seconds."""

    start: float
    end: float
    is_full: bool = False
    is_reading: bool = False


@dataclass(frozen=True, slots=True)
class DiskHabits:
    """How a disk behaves: how long commits take, when they fail, and how often by themselves."""

    commit_seconds_max: float = 0.0
    hiccups: float = 0.0
    bad_reads: float = 0.0
    troubles: tuple[Trouble, ...] = ()


@dataclass(slots=True)
class Known:
    """What the durable log of one execution says, for oracles that ask often.

    `released` is the last event with which it was paused no more.
    """

    started: set[NodeRun] = field(default_factory=set)
    completed: set[tuple[str, int]] = field(default_factory=set)
    bodies: set[str] = field(default_factory=set)
    released: Seq = Seq(0)


@dataclass(slots=True)
class Disk:
    """What survives a crash. `logs` is the truth that oracles read: what is durable, in order.

    `names` are those that tests give executions, since their ids are random; `forks` tells what
    each fork goes on from; `lost` are events that refer to blobs that are not there.
    """

    chance: random.Random
    habits: DiskHabits = field(default_factory=DiskHabits)
    store: MemoryStore = field(default_factory=MemoryStore)
    logs: dict[ExecutionID, list[Recorded]] = field(default_factory=dict)
    names: dict[ExecutionID, str] = field(default_factory=dict)
    known: dict[ExecutionID, Known] = field(default_factory=dict)
    forks: dict[ExecutionID, ExecutionID] = field(default_factory=dict)
    lost: list[Recorded] = field(default_factory=list)
    appends_failed: int = 0
    reads_failed: int = 0

    def durable_seq(self, execution_id: ExecutionID) -> Seq:
        """The last event that would be there after a crash at this moment."""
        return Seq(len(self.logs.get(execution_id, ())))

    def heal(self) -> None:
        """From now on nothing fails and nothing takes time."""
        self.habits = DiskHabits()

    def _name(self, first: Event) -> str:
        """`run0` for a run, `run0/c4#1` for the child of a visit of its node c4.

        Who forks something gives the name; the children that are forked with it are its own.
        """
        if isinstance(first, ExecutionForked):
            visit = "" if first.parent is None else f"/{_short(first.parent)}"
            return f"{first.actor}{visit}"
        assert isinstance(first, ExecutionStarted)
        if first.parent_id is None or first.parent is None:
            return str(first.variables["name"])
        return f"{self.names[first.parent_id]}/{_short(first.parent)}"

    async def works(self, *, is_reading: bool) -> None:
        """Take as long as it takes. Raises StorageError, StorageFull."""
        habits, chance = self.habits, self.chance
        if habits.commit_seconds_max:
            slow = 20 if chance.random() < 0.05 else 1
            share = 0.1 if is_reading else 1.0
            seconds = chance.uniform(0, habits.commit_seconds_max) * slow * share
            await asyncio.sleep(seconds)
        self._fail(is_reading=is_reading)

    def _fail(self, *, is_reading: bool) -> None:
        now = asyncio.get_running_loop().time()
        for trouble in self.habits.troubles:
            if trouble.is_reading is is_reading and trouble.start <= now < trouble.end:
                self._count(is_reading=is_reading)
                kind = StorageFull if trouble.is_full else StorageError
                raise kind("the simulated disk is in trouble")
        often = self.habits.bad_reads if is_reading else self.habits.hiccups
        if often and self.chance.random() < often:
            self._count(is_reading=is_reading)
            raise StorageError("the simulated disk has a hiccup")

    def _count(self, *, is_reading: bool) -> None:
        self.reads_failed += is_reading
        self.appends_failed += not is_reading

    async def commit(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer],
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        """Make it durable, as bytes: what was changed in memory later changes nothing here."""
        written = [as_written(recorded) for recorded in events]
        await self.store.append(
            execution_id,
            written,
            after=after,
            summary=summary,
            answers=answers,
            checkpoints=checkpoints,
        )
        if execution_id not in self.names:
            self.names[execution_id] = self._name(written[0].event)
            self._share(execution_id, written[0].event)
        self.logs.setdefault(execution_id, []).extend(written)
        for recorded in written:
            self._learn(self.known.setdefault(execution_id, Known()), recorded)

    def _share(self, execution_id: ExecutionID, first: Event) -> None:
        """A fork's log begins with that of its origin, and what that says is known of it."""
        if not isinstance(first, ExecutionForked):
            return
        self.forks[execution_id] = first.origin
        shared = self.logs[execution_id] = self.logs[first.origin][: first.forked_at]
        known = self.known[execution_id] = Known()
        for recorded in shared:
            self._learn(known, recorded)

    def _learn(self, known: Known, recorded: Recorded) -> None:
        match recorded.event:
            case NodeStarted(node_run=run):
                known.started.add(run)
            case NodeCompleted(node_run=run, output=envelope):
                known.completed.add((run.node, run.occurrence))
                known.bodies.add(str(self._body(recorded, envelope)))
            case ExecutionStatusChanged(before=ExecutionStatus.PAUSED, after=after):
                if after is not ExecutionStatus.PAUSED:
                    known.released = recorded.seq
            case NodeReported(output=Envelope() as envelope) | NodeOutputSet(output=envelope):
                known.bodies.add(str(self._body(recorded, envelope)))
            case _:
                pass

    def _body(self, recorded: Recorded, envelope: Envelope) -> Any:
        if envelope.blob is None:
            return envelope.body
        try:
            return json.loads(self.store.blobs.read(envelope.blob))
        except StorageError:
            self.lost.append(recorded)
            return None


def _short(run: NodeRun) -> str:
    return f"{run.node}#{run.occurrence}"


def as_written(recorded: Recorded) -> Recorded:
    """The event as it comes back from its bytes."""
    event = recorded.event
    payload = CODEC.encode(event)
    return replace(recorded, event=CODEC.decode(event.kind, payload, CODEC.version_of(event.kind)))


class FaultyBlobs:
    """One process's way to the blobs on the disk: the port Blobs, with a fate."""

    def __init__(self, disk: Disk, fate: Fate) -> None:
        self._disk = disk
        self._fate = fate

    async def put(self, data: bytes) -> BlobRef:
        """Keep the bytes, if all goes well."""
        await self._fate.passes(CrashPoint.BEFORE_BLOB)
        await self._disk.works(is_reading=False)
        return await self._disk.store.blobs.put(data)

    async def get(self, ref: BlobRef) -> bytes:
        """Read the bytes; slowly perhaps, but a disk that cannot be read fails the node."""
        await asyncio.sleep(0)
        return await self._disk.store.blobs.get(ref)

    def read(self, ref: BlobRef) -> bytes:
        """What `get` does."""
        return self._disk.store.blobs.read(ref)


class FaultyStore:
    """One process's way to the disk: the port StateStore, with a fate."""

    def __init__(self, disk: Disk, fate: Fate) -> None:
        self._disk = disk
        self.fate = fate
        self.blobs: Blobs = FaultyBlobs(disk, fate)
        self.checkpoints: CheckpointStore = disk.store.checkpoints
        self.is_recovering = False

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        """Commit, if all goes well."""
        await self.fate.passes(CrashPoint.BEFORE_APPEND)
        await self._disk.works(is_reading=False)
        await self._disk.commit(
            execution_id,
            events,
            after=after,
            summary=summary,
            answers=answers,
            checkpoints=checkpoints,
        )
        await self.fate.passes(CrashPoint.DURABLE)
        self.fate.passes_behind(CrashPoint.APPENDED)

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        """Read, if all goes well."""
        if self.is_recovering:
            await self.fate.passes(CrashPoint.RECOVERING)
        await self._disk.works(is_reading=True)
        return await self._disk.store.read(execution_id, after=after, limit=limit)

    async def summary(self, execution_id: ExecutionID) -> ExecutionSummary | None:
        """As the disk has it."""
        await self._disk.works(is_reading=True)
        return await self._disk.store.summary(execution_id)

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """As the disk has them."""
        await self._disk.works(is_reading=True)
        return await self._disk.store.list_executions(query)

    async def active(self) -> Sequence[ExecutionID]:
        """As the disk has them; a server that cannot read this does not start."""
        return await self._disk.store.active()

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        """As the disk has it."""
        await self._disk.works(is_reading=True)
        return await self._disk.store.find_answer(principal, key, now=now)

    async def delete(
        self, execution_id: ExecutionID, *, now: datetime, answer: KeyedAnswer | None = None
    ) -> Sequence[ExecutionID]:
        """Nobody deletes anything in a simulation."""
        return await self._disk.store.delete(execution_id, now=now, answer=answer)

    async def delete_checkpoints(
        self,
        execution_id: ExecutionID,
        choice: CheckpointChoice,
        *,
        now: datetime,
        answer: KeyedAnswer | None = None,
    ) -> int:
        """Nobody deletes anything in a simulation."""
        return await self._disk.store.delete_checkpoints(
            execution_id, choice, now=now, answer=answer
        )

    async def append_logs(self, execution_id: ExecutionID, lines: Sequence[LogRecord]) -> None:
        """Keep lines, if all goes well."""
        await self._disk.works(is_reading=False)
        await self._disk.store.append_logs(execution_id, lines)

    async def read_logs(
        self,
        execution_id: ExecutionID,
        *,
        after: int = 0,
        limit: int = 100,
        node: str | None = None,
    ) -> Sequence[LogRecord]:
        """As the disk has them."""
        return await self._disk.store.read_logs(execution_id, after=after, limit=limit, node=node)

    async def close(self) -> None:
        """The disk stays."""
