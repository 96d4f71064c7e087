"""One live execution: an inbox, a machine, and one loop with one order of doing things.

Receive, append, publish, reconcile, answer. What leaves the process waits for the disk: an event
is published, an answer (a refusal included) given and an effectful handler entered only after the
commit of everything it rests on. Where the run's durability is ADAPTIVE, nodes of pure types need
not wait: the machine runs ahead of the disk for as long as nothing else is due. The loop is the
machine's only owner, so nobody else ever sees a state that is ahead of the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from dipeo_server.domains.execution.events import Durability
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import Signal
from dipeo_server.domains.execution.state import ExecutionView, view
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import ConcurrentAppend, DipeoError, StorageError, Unavailable
from dipeo_server.runtime.feed import EventFeed
from dipeo_server.runtime.inbox import Asked, Item, Round, Told
from dipeo_server.runtime.keys import keyed_answer
from dipeo_server.runtime.loading import load
from dipeo_server.runtime.parts import ActorParts
from dipeo_server.runtime.reconciler import Reconciler, moment_of

log = structlog.get_logger(__name__)

ROUND_SIGNALS_MAX = 128
STORAGE_RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
AHEAD_EVENTS_MAX = 1_024


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
        self._reconciler = Reconciler(parts.performer, parts.clock, self.post, self._wake.set)
        self._round = Round(machine.last_seq)
        self._appending: tuple[Round, asyncio.Task[None] | None] | None = None
        self._view: ExecutionView | None = None
        self._stalled: StorageError | None = None
        self._kept = 0
        self._singly = 0
        self._was_refused = False
        self._is_asleep = False
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
        await self._reconciler.close()
        self._wake.set()
        await asyncio.wait({self._loop}, timeout=CLOSE_SECONDS)
        self._loop.cancel()
        await asyncio.wait({self._loop})
        _, append = self._appending or (None, None)
        if append is not None:
            append.cancel()  # Whether it is committed all the same, the next runner sees.
            await asyncio.wait({append})

    def _put(self, item: Item) -> None:
        is_new = isinstance(item, Told) and item.is_of_a_client
        if self._loop.done() or (self._is_closing and is_new):
            item.refuse(_not_served())
            return
        self._inbox.append(item)
        self._wake.set()

    # --- the loop -------------------------------------------------------------------------------

    async def _serve(self) -> None:
        left: ExecutionView | None = None
        try:
            while not self._is_over():
                self._wake.clear()
                if self._has_work():
                    await self._step()
                else:
                    await self._rest()
            left = view(self._machine.state) if self._machine.last_seq > 0 else None
        except Exception as error:
            # Nothing acknowledged is lost: the log holds it, and a restart takes it up again.
            log.exception("execution_stopped", execution_id=self.id)
            self._is_closing = True
            reason = error if isinstance(error, DipeoError) else _not_served()
            (await self._withdraw()).refuse(reason)
            while self._inbox:
                self._inbox.popleft().refuse(reason)
            await self._reconciler.close()
        finally:
            self._round.refuse(_not_served())
            if self._appending is not None:
                self._appending[0].refuse(_not_served())
            while self._inbox:
                self._inbox.popleft().refuse(_not_served())
            self.feed.fail(_not_served())
            self._parts.on_idle(self.id, left)

    def _is_over(self) -> bool:
        """Ended or stopped, and nothing is left to do or to answer."""
        if self._inbox or self._appending is not None or not self._round.is_empty:
            return False
        if self._is_closing or self._is_asleep:
            return self._is_closing
        if self._machine.last_seq == 0:
            return self._was_refused
        return self._machine.state.status.is_terminal and not len(self._reconciler)

    def _has_work(self) -> bool:
        if self._appending is None:
            return bool(self._inbox) or not self._round.is_empty
        return self._has_landed() or (bool(self._inbox) and self._may_go_on())

    def _has_landed(self) -> bool:
        _, task = self._appending or (None, None)
        return task is not None and task.done()

    async def _rest(self) -> None:
        """Wait for work; where only a person or a timer is awaited, forget the machine soon."""
        if self._appending or not self._machine.last_seq or not self._machine.state.is_idle:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(self._parts.idle_seconds):
                await self._wake.wait()
        except TimeoutError:
            self._machine, self._view, self._is_asleep = ExecutionMachine(), None, True

    async def _step(self) -> None:
        try:
            if self._is_asleep:
                await self._rebuild()
            if self._has_landed():
                self._land()
            if self._appending is None or self._may_go_on():
                self._receive()
            if self._appending is None and not self._round.is_empty:
                await self._append()
        except ConcurrentAppend:
            raise
        except StorageError as error:
            await self._take_back(error)
        except Exception as error:  # noqa: BLE001 - one signal may not end a run for all others.
            await self._isolate(error)

    def _receive(self) -> None:
        """Let the machine decide on what is in the inbox; it is ahead of the disk then."""
        turn = self._round
        now = self._parts.clock.now()
        most = 1 if self._singly else max(ROUND_SIGNALS_MAX, self._kept)
        before = len(turn.told)
        while self._inbox and len(turn.told) - before < most:
            item = self._inbox.popleft()
            if self._stalled is not None and self._turned_away(item, self._stalled):
                continue
            if isinstance(item, Asked):
                turn.asked.append(item)
                continue
            turn.told.append(item)
            try:
                is_new = self._machine.last_seq == 0
                moment = now if is_new else moment_of(item.signal, self._machine.state, now)
                turn.recorded.extend(self._machine.receive(item.signal, now=moment))
            except DipeoError as refusal:
                turn.refused.append((item, refusal))
            else:
                turn.accepted.append((item, self._machine.last_seq))
        turn.checkpoints += self._machine.taken()
        self._singly, self._kept = max(0, self._singly - len(turn.told) + before), 0
        self._reconciler.look(self._machine, is_ahead=self._runs_ahead())

    # --- ahead of the disk ----------------------------------------------------------------------

    def _runs_ahead(self) -> bool:
        """May pure nodes start before the events they rest on are durable?"""
        is_troubled = self._stalled or self._kept or self._singly
        if is_troubled or self._is_closing or self._machine.last_seq == 0:
            return False
        return self._machine.state.durability is Durability.ADAPTIVE

    def _may_go_on(self) -> bool:
        """May the machine decide on more, before what it has decided is durable?"""
        is_near = len(self._round.recorded) < AHEAD_EVENTS_MAX
        return is_near and self._reconciler.is_calm and self._runs_ahead()

    # --- to the disk ----------------------------------------------------------------------------

    async def _append(self) -> None:
        """Hand the round to the store; wait for it unless the machine may go on meanwhile."""
        turn, self._round = self._round, Round(self._machine.last_seq)
        if turn.asked and self._machine.last_seq > 0:
            is_new = turn.recorded or self._view is None
            turn.shown = view(self._machine.state) if is_new else self._view
        if not (turn.recorded or turn.keyed):
            self._stalled = None  # What nodes told turned out to be nothing that has to be kept.
            self._finish(turn)
        elif self._may_go_on():
            task = asyncio.create_task(self._written(turn), name=f"append {self.id}")
            task.add_done_callback(lambda _: self._wake.set())
            self._appending = (turn, task)
        else:
            self._appending = (turn, None)
            await (self._written(turn) if self._stalled is None else self._persist(turn))
            self._finish(turn)

    def _written(self, turn: Round) -> Coroutine[Any, Any, None]:
        """The append of a round, with everything as it is at this moment."""
        now = self._parts.clock.now()
        append = self._parts.store.append(
            self.id,
            turn.recorded,
            after=turn.tail,
            summary=summary_of(self._machine.state),
            answers=[keyed_answer(key, seq, now) for key, seq in turn.keyed],
            checkpoints=turn.checkpoints,
        )
        return self._parts.timed(append)

    def _land(self) -> None:
        """Take note of an append that has ended. Raises whatever kept it from being committed."""
        if self._appending is not None:
            turn, task = self._appending
            if task is not None:
                task.result()
            self._finish(turn)

    def _finish(self, turn: Round) -> None:
        """A round is durable: publish it, reconcile, answer."""
        self._appending = None
        self._publish(turn)
        if not self._round.recorded and not self._singly:
            self._reconciler.reconcile(self._machine)
        self._answer(turn)

    def _publish(self, turn: Round) -> None:
        if turn.recorded:
            self._view = turn.shown
            self.feed.publish(turn.recorded)

    def _answer(self, turn: Round) -> None:
        for told, seq in turn.accepted:
            told.accept(Accepted(self.id, seq))
        for told, refusal in turn.refused:
            told.refuse(refusal)
            self._was_refused = True
        for asked in turn.asked:
            asked.show(turn.shown)

    # --- when something cannot be recorded ------------------------------------------------------

    async def _withdraw(self) -> Round:
        """What is not durable, now that nothing is on its way to the disk any more."""
        lost, self._round = self._round, Round(Seq(0))
        if self._appending is None:
            return lost
        turn, task = self._appending
        if task is not None:
            await asyncio.wait([task])
        self._appending = None
        if task is None or task.cancelled() or task.exception() is not None:
            return turn.followed_by(lost)
        self._publish(turn)
        self._answer(turn)
        return lost

    async def _take_back(self, error: StorageError) -> None:
        """Nothing of it is durable: refuse the clients, and keep what nodes told."""
        log.error("append_failed", execution_id=self.id, code=error.code, error=str(error))
        lost = await self._withdraw()
        for told in lost.told:
            told.refuse(error)
        await self._rebuild()
        self._was_refused = True
        if self._machine.last_seq == 0:
            await self._reconciler.close()  # What ran ahead belongs to nothing.
        is_over = self._is_closing or self._machine.last_seq == 0
        self._again([] if is_over else lost.of_nodes(), lost.asked)
        self._stalled = error if self._kept else None

    async def _isolate(self, error: Exception) -> None:
        """Something cannot be recorded: find out what, and go on without it."""
        log.error("round_failed", execution_id=self.id, exc_info=error)
        lost = await self._withdraw()
        again = lost.told
        if len(again) > 1:
            self._singly = len(again)
        else:
            again = [Told(signal) for told in again for signal in told.instead(error)]
        await self._rebuild()
        self._again(again, lost.asked)

    def _again(self, told: Sequence[Told], asked: Sequence[Asked]) -> None:
        """Decide once more, from where the disk is."""
        self._inbox.extendleft(reversed(told))
        self._kept = len(told)
        for each in asked:
            each.show(self._view)
        if not told:
            self._reconciler.reconcile(self._machine)

    async def _rebuild(self) -> None:
        """Fold the log anew: the machine is where the disk is. What is in flight stays so."""
        while True:
            try:
                machine = await load(self._parts.store, self.id)
                break
            except StorageError as error:
                if self._is_closing or error.is_lasting:
                    raise
                log.warning("log_unreadable", execution_id=self.id, error=str(error))
                await asyncio.sleep(STORAGE_RETRY_SECONDS)
        self._machine, self._round = machine, Round(machine.last_seq)
        self._is_asleep = False
        self._reconciler.tear()
        if machine.last_seq:
            self._machine.take_changes()
            self._view = self._view or view(self._machine.state)

    async def _persist(self, turn: Round) -> None:
        """Try again and again to commit what nodes told, while clients are refused."""
        while self._stalled is not None:
            await self._hold_out(self._stalled)
            try:
                await self._written(turn)
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
            item.show(self._view)
        elif item.is_of_a_client:
            item.refuse(error)
        else:
            return False
        return True


def _not_served() -> Unavailable:
    return Unavailable("The execution is not being served; the server's log says why.")
