"""One live execution: an inbox, a machine, and one loop with one order of doing things.

Receive, append, publish, reconcile, answer. A command is performed only after the event that
implied it is durable; an answer is given only after the commit. The loop is the machine's only
owner, so nothing else ever sees a state that is ahead of the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

import structlog

from dipeo_server.domains.execution.commands import Command, RunNode, SetTimer
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import (
    Clock,
    Idempotency,
    KeyedAnswer,
    StateStore,
)
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import Signal, TimerFired
from dipeo_server.domains.execution.state import ExecutionView, view
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import ConcurrentAppend, DipeoError, StorageError, Unavailable
from dipeo_server.runtime.feed import EventFeed
from dipeo_server.runtime.inflight import Inflight
from dipeo_server.runtime.perform import Performer

log = structlog.get_logger(__name__)

BATCH_SIGNALS_MAX = 128
STORAGE_RETRY_SECONDS = 1.0
KEY_HOURS = 24


@dataclass(slots=True)
class Told:
    """A signal in the inbox; `answer` is set where somebody waits for the commit."""

    signal: Signal
    answer: asyncio.Future[Accepted] | None = None
    key: IdempotencyKey | None = None


@dataclass(slots=True)
class Asked:
    """A reader in the inbox, who gets the state as of the last commit."""

    answer: asyncio.Future[ExecutionView]


Item: TypeAlias = Told | Asked


@dataclass(frozen=True, slots=True)
class ActorParts:
    """What every actor of a runner shares."""

    store: StateStore
    performer: Performer
    clock: Clock
    on_idle: Callable[[ExecutionID], None]


@dataclass(slots=True)
class _Batch:
    """One round of the loop: what was taken, and what came of it."""

    told: list[tuple[Told, Seq]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)


class ExecutionActor:
    """Owns one execution's machine; everything that happens to it goes through the inbox."""

    def __init__(
        self,
        execution_id: ExecutionID,
        machine: ExecutionMachine,
        feed: EventFeed,
        parts: ActorParts,
    ) -> None:
        self.id = execution_id
        self.feed = feed
        self._machine = machine
        self._parts = parts
        self._inbox: deque[Item] = deque()
        self._wake = asyncio.Event()
        self._inflight = Inflight(self._perform, self.post)
        self._view: ExecutionView | None = None
        self._was_refused = False
        self._loop = asyncio.create_task(self._serve(), name=f"execution {execution_id}")

    # --- the doors ------------------------------------------------------------------------------

    def post(self, signal: Signal) -> None:
        """Put a signal into the inbox; nobody waits for what comes of it."""
        self._put(Told(signal))

    async def tell(self, signal: Signal, key: IdempotencyKey | None = None) -> Accepted:
        """Put a signal into the inbox and wait for its commit. Raises Rejected, StorageError."""
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._put(Told(signal, answer, key))
        return await answer

    async def current_view(self) -> ExecutionView:
        """The execution as of its last commit."""
        answer: asyncio.Future[ExecutionView] = asyncio.get_running_loop().create_future()
        self._put(Asked(answer))
        return await answer

    async def close(self) -> None:
        """Stop without telling the execution: a later runner finds it as after a crash."""
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        await self._inflight.close()
        self._refuse_rest()

    def _put(self, item: Item) -> None:
        if self._loop.done():
            self._refuse(item)
            return
        self._inbox.append(item)
        self._wake.set()

    # --- the loop -------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while not self._is_over():
                while not self._inbox:
                    self._wake.clear()
                    await self._wake.wait()
                await self._step()
        except Exception:
            # Nothing acknowledged is lost: the log holds it, and a restart takes it up again.
            log.exception("execution_stopped", execution_id=self.id)
        finally:
            self._parts.on_idle(self.id)
            self._refuse_rest()

    def _is_over(self) -> bool:
        """Ended, and nothing is left to do or to answer."""
        if self._inbox or len(self._inflight):
            return False
        if self._machine.last_seq == 0:
            return self._was_refused
        return self._machine.state.status.is_terminal

    async def _step(self) -> None:
        tail = self._machine.last_seq
        batch = self._receive()
        if batch.recorded:
            # A cancelled loop must not leave an append behind whose fate nobody knows.
            if not await self._append(batch, tail):
                return
            self._view = None
            self.feed.publish(batch.recorded)
        self._reconcile()
        for told, seq in batch.told:
            if told.answer is not None and not told.answer.done():
                told.answer.set_result(Accepted(self.id, seq))
        for asked in batch.asked:
            self._show(asked)

    def _receive(self) -> _Batch:
        batch = _Batch()
        now = self._parts.clock.now()
        while self._inbox and len(batch.told) < BATCH_SIGNALS_MAX:
            item = self._inbox.popleft()
            if isinstance(item, Asked):
                batch.asked.append(item)
                continue
            try:
                batch.recorded.extend(self._machine.receive(item.signal, now=now))
            except DipeoError as refusal:
                self._was_refused = True
                _refuse_with(item.answer, refusal)
                continue
            batch.told.append((item, self._machine.last_seq))
        return batch

    async def _append(self, batch: _Batch, tail: Seq) -> bool:
        """Commit the round; if that fails, take everything back and keep what nodes told."""
        try:
            await self._parts.store.append(
                self.id,
                batch.recorded,
                after=tail,
                summary=summary_of(self._machine.state),
                answers=[
                    _keyed(told.key, self._parts.clock, Accepted(self.id, seq))
                    for told, seq in batch.told
                    if told.key is not None
                ],
            )
        except ConcurrentAppend:
            log.exception("another_runner_took_over", execution_id=self.id)
            raise
        except DipeoError as error:
            await self._take_back(batch, error)
            return False
        return True

    async def _take_back(self, batch: _Batch, error: DipeoError) -> None:
        """Nothing of the round is durable: fold the log anew, refuse clients, retry the rest."""
        log.error("append_failed", execution_id=self.id, code=error.code, error=str(error))
        self._machine = ExecutionMachine.replay(await read_all(self._parts.store, self.id))
        if self._machine.last_seq > 0:
            self._machine.take_changes()  # What is in flight stays in flight.
        for told, _ in reversed(batch.told):
            if told.answer is not None:
                _refuse_with(told.answer, error)
            else:
                self._inbox.appendleft(told)
        for asked in batch.asked:
            self._show(asked)
        if self._inbox and isinstance(error, StorageError):
            await asyncio.sleep(STORAGE_RETRY_SECONDS)

    def _reconcile(self) -> None:
        if self._machine.last_seq == 0:
            return
        ending = self._machine.state.ending
        grace = ending.grace_seconds if ending else 2.0
        self._inflight.reconcile(self._machine.take_changes(), grace)

    async def _perform(self, command: Command) -> Signal:
        match command:
            case RunNode(node_run=run):
                return await self._parts.performer.run(self._machine.state, run, self.post)
            case SetTimer(node_run=run, due_at=due_at):
                clock = self._parts.clock
                while (left := (due_at - clock.now()).total_seconds()) > 0:
                    await clock.sleep(left)
                return TimerFired(run)

    # --- answers --------------------------------------------------------------------------------

    def _show(self, asked: Asked) -> None:
        if self._machine.last_seq == 0:
            _refuse_with(asked.answer, Unavailable("The execution was not accepted."))
            return
        if self._view is None:
            self._view = view(self._machine.state)
        if not asked.answer.done():
            asked.answer.set_result(self._view)

    def _refuse_rest(self) -> None:
        while self._inbox:
            self._refuse(self._inbox.popleft())

    def _refuse(self, item: Item) -> None:
        _refuse_with(item.answer, Unavailable("The execution is not being served any more."))


async def read_all(store: StateStore, execution_id: ExecutionID) -> list[Recorded]:
    """The whole log of an execution."""
    found: list[Recorded] = []
    while page := await store.read(
        execution_id, after=found[-1].seq if found else Seq(0), limit=1_000
    ):
        found.extend(page)
    return found


def _keyed(key: IdempotencyKey, clock: Clock, accepted: Accepted) -> KeyedAnswer:
    record = Idempotency(
        principal=key.principal,
        key=key.key,
        mutation=key.mutation,
        request_hash=key.request_hash,
        expires_at=clock.now() + timedelta(hours=KEY_HOURS),
    )
    return KeyedAnswer(record, {"sequence": int(accepted.sequence)})


def _refuse_with(
    answer: asyncio.Future[Accepted] | asyncio.Future[ExecutionView] | None, error: DipeoError
) -> None:
    if answer is not None and not answer.done():
        answer.set_exception(error)
