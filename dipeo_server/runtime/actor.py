"""One live execution: an inbox, a machine, and one loop with one order of doing things.

Receive, append, publish, reconcile, answer. A command is performed only after the event that
implied it is durable; an answer, a refusal included, is given only after the commit of everything
it rests on. The loop is the machine's only owner, so nobody else ever sees a state that is ahead
of the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from dipeo_server.domains.execution.commands import Command, RunNode, SetTimer
from dipeo_server.domains.execution.events import Failure, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import Clock, Idempotency, KeyedAnswer, StateStore
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import (
    NodeRaised,
    NodeReport,
    NodeReturned,
    NodeStopped,
    Signal,
    TimerFired,
)
from dipeo_server.domains.execution.state import ExecutionView, view
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import ConcurrentAppend, DipeoError, StorageError, Unavailable
from dipeo_server.runtime.feed import EventFeed
from dipeo_server.runtime.inbox import Asked, Item, Round, Told
from dipeo_server.runtime.inflight import Inflight
from dipeo_server.runtime.perform import Performer

log = structlog.get_logger(__name__)

ROUND_SIGNALS_MAX = 128
STORAGE_RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
GRACE_SECONDS = 2.0
KEY_HOURS = 24


@dataclass(frozen=True, slots=True)
class ActorParts:
    """What every actor of a runner shares."""

    store: StateStore
    performer: Performer
    clock: Clock
    on_idle: Callable[[ExecutionID], None]


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
        self._inflight = Inflight(self._work, self.post, self._wake.set)
        self._round = Round(machine.last_seq)
        self._view: ExecutionView | None = None
        self._stalled: StorageError | None = None
        self._singly = 0
        self._was_refused = False
        self._is_closing = False
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
        """The execution as of its last commit. Raises Unavailable."""
        answer: asyncio.Future[ExecutionView] = asyncio.get_running_loop().create_future()
        self._put(Asked(answer))
        return await answer

    async def close(self) -> None:
        """Stop without telling the execution: a later runner finds it as after a crash.

        What has come in is still committed, so that no result is lost that is there already.
        """
        self._is_closing = True
        await self._inflight.close()
        self._wake.set()
        await asyncio.wait({self._loop}, timeout=CLOSE_SECONDS)
        self._loop.cancel()
        await asyncio.wait({self._loop})

    def _put(self, item: Item) -> None:
        is_new = isinstance(item, Told) and item.is_of_a_client
        if self._loop.done() or (self._is_closing and is_new):
            item.refuse(_not_served())
            return
        self._inbox.append(item)
        self._wake.set()

    # --- the loop -------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while not self._is_over():
                self._wake.clear()
                if not self._inbox:
                    await self._wake.wait()
                else:
                    await self._step()
        except Exception as error:
            # Nothing acknowledged is lost: the log holds it, and a restart takes it up again.
            log.exception("execution_stopped", execution_id=self.id)
            self._is_closing = True
            self._round.refuse(error if isinstance(error, DipeoError) else _not_served())
            await self._inflight.close()
        finally:
            self._round.refuse(_not_served())
            while self._inbox:
                self._inbox.popleft().refuse(_not_served())
            self.feed.fail(_not_served())
            self._parts.on_idle(self.id)

    def _is_over(self) -> bool:
        """Ended or stopped, and nothing is left to do or to answer."""
        if self._inbox:
            return False
        if self._is_closing:
            return True
        if self._machine.last_seq == 0:
            return self._was_refused
        return self._machine.state.status.is_terminal and not len(self._inflight)

    async def _step(self) -> None:
        turn = self._round = Round(self._machine.last_seq)
        try:
            self._receive(turn)
            await (self._commit(turn) if self._stalled is None else self._persist(turn))
        except ConcurrentAppend:
            raise
        except StorageError as error:
            await self._take_back(turn, error)
            return
        except Exception as error:  # noqa: BLE001 - one signal may not end a run for all others.
            await self._isolate(turn, error)
            return
        if turn.recorded:
            self._view = None
            self.feed.publish(turn.recorded)
        self._reconcile()
        self._answer(turn)

    def _receive(self, turn: Round) -> None:
        """Let the machine decide on what is in the inbox; it is ahead of the disk then."""
        now = self._parts.clock.now()
        most = 1 if self._singly else ROUND_SIGNALS_MAX
        while self._inbox and len(turn.told) < most:
            item = self._inbox.popleft()
            if self._stalled is not None and self._turned_away(item, self._stalled):
                continue
            if isinstance(item, Asked):
                turn.asked.append(item)
                continue
            turn.told.append(item)
            try:
                moment = self._moment(item.signal, now)
                turn.recorded.extend(self._machine.receive(item.signal, now=moment))
            except DipeoError as refusal:
                turn.refused.append((item, refusal))
            else:
                turn.accepted.append((item, self._machine.last_seq))
        self._singly = max(0, self._singly - len(turn.told))

    def _moment(self, signal: Signal, now: datetime) -> datetime:
        """When it happened: a timer that fired was due, even if the clock was put back since."""
        if not isinstance(signal, TimerFired) or self._machine.last_seq == 0:
            return now
        state = self._machine.state
        waiting = state.waiting.get(state.diagram.index_of[signal.node_run.node])
        return max(now, waiting.due_at) if waiting and waiting.due_at else now

    async def _commit(self, turn: Round) -> None:
        keyed = [(told.key, seq) for told, seq in turn.accepted if told.key is not None]
        if not turn.recorded and not keyed:
            return
        now = self._parts.clock.now()
        await self._parts.store.append(
            self.id,
            turn.recorded,
            after=turn.tail,
            summary=summary_of(self._machine.state),
            answers=[keyed_answer(key, seq, now) for key, seq in keyed],
        )

    def _reconcile(self) -> None:
        """Start and stop what the committed state wants to be started and stopped."""
        if self._machine.last_seq == 0:
            return
        state = self._machine.state
        changes = self._machine.take_changes()
        grace = state.ending.grace_seconds if state.ending else GRACE_SECONDS
        self._inflight.reconcile(changes, grace)
        for index, command in changes.items():
            run = state.running.get(index)
            if command is None and run is not None and not self._inflight.has(run):
                # It was started and the run was ended in one round: there is nothing to stop.
                self.post(NodeStopped(run, "never entered"))

    def _answer(self, turn: Round) -> None:
        for told, seq in turn.accepted:
            told.accept(Accepted(self.id, seq))
        for told, refusal in turn.refused:
            told.refuse(refusal)
            self._was_refused = True
        for asked in turn.asked:
            self._show(asked)

    def _show(self, asked: Asked) -> None:
        """Only where the machine is not ahead of the disk, or `_view` is set."""
        if self._view is None:
            if self._machine.last_seq == 0:
                asked.refuse(Unavailable("The execution was not accepted."))
                return
            self._view = view(self._machine.state)
        asked.show(self._view)

    # --- when something cannot be recorded ------------------------------------------------------

    async def _take_back(self, turn: Round, error: StorageError) -> None:
        """Nothing of the round is durable: refuse its clients, and keep what nodes told."""
        log.error("append_failed", execution_id=self.id, code=error.code, error=str(error))
        for told in turn.told:
            told.refuse(error)
        await self._rebuild()
        if not self._is_closing:
            refused = {id(told) for told, _ in turn.refused}
            kept = [t for t in turn.told if not t.is_of_a_client and id(t) not in refused]
            self._inbox.extendleft(reversed(kept))
            self._stalled = error if kept else None
        for asked in turn.asked:
            self._show(asked)
        self._was_refused = True

    async def _persist(self, turn: Round) -> None:
        """Try again and again to commit what nodes told, while clients are refused."""
        while self._stalled is not None:
            await self._hold_out(self._stalled)
            try:
                await self._commit(turn)
            except ConcurrentAppend:
                raise
            except StorageError as error:
                if self._is_closing:
                    raise
                self._stalled = error
            else:
                self._stalled = None

    async def _hold_out(self, error: StorageError) -> None:
        """Until it is worth trying again: readers are served, clients are refused."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STORAGE_RETRY_SECONDS):
                while not self._is_closing:
                    self._wake.clear()
                    rest = [item for item in self._inbox if not self._turned_away(item, error)]
                    self._inbox = deque(rest)
                    await self._wake.wait()

    def _turned_away(self, item: Item, error: StorageError) -> bool:
        """Has it been answered, since it need not or cannot wait for the disk?"""
        if isinstance(item, Asked):
            self._show(item)
        elif item.is_of_a_client:
            item.refuse(error)
        else:
            return False
        return True

    async def _isolate(self, turn: Round, error: Exception) -> None:
        """Something in the round cannot be recorded: find out what, and go on without it."""
        log.error("round_failed", execution_id=self.id, exc_info=error)
        if len(turn.told) > 1:
            again = turn.told
            self._singly = len(again)
        else:
            again = [Told(signal) for told in turn.told for signal in _instead_of(told, error)]
        await self._rebuild()
        self._inbox.extendleft(reversed(again))
        for asked in turn.asked:
            self._show(asked)

    async def _rebuild(self) -> None:
        """Fold the log anew: the machine is where the disk is. What is in flight stays so."""
        while True:
            try:
                history = await read_all(self._parts.store, self.id)
                break
            except StorageError as error:
                if self._is_closing:
                    raise
                log.warning("log_unreadable", execution_id=self.id, error=str(error))
                await asyncio.sleep(STORAGE_RETRY_SECONDS)
        self._machine = ExecutionMachine.replay(history)
        if history:
            self._machine.take_changes()
            self._view = self._view or view(self._machine.state)

    # --- work -----------------------------------------------------------------------------------

    def _work(self, command: Command) -> Callable[[], Awaitable[Signal]]:
        """What to do for a command. Called behind the commit, so a handler sees what is on disk."""
        match command:
            case RunNode(node_run=run):
                state = self._machine.state
                seen = replace(state, outputs=dict(state.outputs), executed=dict(state.executed))
                return partial(self._parts.performer.run, seen, run, self.post)
            case SetTimer(node_run=run, due_at=due_at):
                return partial(self._wait_until, run, due_at)

    async def _wait_until(self, run: NodeRun, due_at: datetime) -> Signal:
        clock = self._parts.clock
        while (left := (due_at - clock.now()).total_seconds()) > 0:
            await clock.sleep(left)
        return TimerFired(run)


async def read_all(store: StateStore, execution_id: ExecutionID) -> list[Recorded]:
    """The whole log of an execution."""
    found: list[Recorded] = []
    while page := await store.read(
        execution_id, after=found[-1].seq if found else Seq(0), limit=1_000
    ):
        found.extend(page)
    return found


def keyed_answer(key: IdempotencyKey, sequence: Seq, now: datetime) -> KeyedAnswer:
    """What is kept under the key of a mutation, for a day."""
    record = Idempotency(
        principal=key.principal,
        key=key.key,
        mutation=key.mutation,
        request_hash=key.request_hash,
        expires_at=now + timedelta(hours=KEY_HOURS),
    )
    return KeyedAnswer(record, {"sequence": int(sequence)})


def _instead_of(told: Told, error: Exception) -> list[Signal]:
    """What to tell the machine instead of a signal that cannot be recorded; else raises `error`."""
    match told:
        case Told(answer=None, signal=NodeReturned(node_run=run)):
            message = f"The result of {run.node!r} cannot be recorded: {error}"
            kind = type(error).__name__
            return [NodeRaised(run, Failure("INTERNAL", message, run.node, error_type=kind))]
        case Told(answer=None, signal=NodeReport()):
            return []  # An early word; the result itself is still to come.
        case Told(answer=None):
            raise error
        case _:
            told.refuse(error)
            return []


def _not_served() -> Unavailable:
    return Unavailable("The execution is not being served; the server's log says why.")
