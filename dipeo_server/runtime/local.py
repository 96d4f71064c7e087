"""LocalRunner: every execution of this process, its actor while it lives, its log for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import structlog

from dipeo_server.domains.execution.context import Services
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import (
    ExecutionPage,
    ExecutionQuery,
    LogRecord,
    StateStore,
)
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.domains.execution.runner import (
    Accepted,
    ForkExecution,
    IdempotencyKey,
    StartExecution,
)
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BudgetTimePassed,
    ResumeRequested,
    Signal,
)
from dipeo_server.domains.execution.state import ExecutionState, ExecutionView, view
from dipeo_server.errors import InvalidState, NotFound, StorageError, Unavailable
from dipeo_server.runtime.actor import ExecutionActor
from dipeo_server.runtime.bodies import Bodies
from dipeo_server.runtime.deleting import CheckpointDeletions, Deletions
from dipeo_server.runtime.ended import EndedExecutions, EndedViews
from dipeo_server.runtime.family import Family
from dipeo_server.runtime.feed import EventFeed
from dipeo_server.runtime.forking import Fork, Forks
from dipeo_server.runtime.identity import new_execution_id
from dipeo_server.runtime.keys import IdempotencyKeys
from dipeo_server.runtime.loading import load
from dipeo_server.runtime.log_context import context_of
from dipeo_server.runtime.logbook import LogBook
from dipeo_server.runtime.observers import Observers
from dipeo_server.runtime.parts import ActorParts
from dipeo_server.runtime.perform import ConcurrencyLimits, Performer
from dipeo_server.runtime.recovery import replay_active
from dipeo_server.runtime.runner_ports import RunnerPorts
from dipeo_server.runtime.secrets import RunSecrets, SecretGrants
from dipeo_server.runtime.sub_diagrams import ChildExecutions, Inherited
from dipeo_server.runtime.watches import Watches

log = structlog.get_logger(__name__)

IDLE_SECONDS = 20.0


class LocalRunner:
    """Runs executions in this process, durably."""

    def __init__(
        self,
        store: StateStore,
        registry: HandlerRegistry,
        ports: RunnerPorts,
        limits: ConcurrencyLimits | None = None,
        *,
        idle_seconds: float = IDLE_SECONDS,
        observers: Observers | None = None,
    ) -> None:
        """An execution that waits `idle_seconds` for a person or a timer leaves the memory."""
        self._store = store
        self._ports = ports
        self._logbook = LogBook(store, ports.clock, ports.secrets.redactor)
        self._grants = SecretGrants(store)
        self._bodies = Bodies(store.blobs)
        self._watches, self._observers = Watches(), observers or Observers()
        self.watching = self._watches.watching
        self._family = Family(partial(self._tell, key=None))
        performer = Performer(
            registry,
            self._services,
            self._logbook,
            self._bodies,
            limits or ConcurrencyLimits(),
            self._family.holds_of,
        )
        parts = store, performer, ports.clock, idle_seconds, self._forget, self._observers.timed
        self._parts = ActorParts(*parts)
        self._actors: dict[ExecutionID, ExecutionActor] = {}
        self._feeds: dict[ExecutionID, EventFeed] = {}
        self._ended = EndedViews()
        self._keys = IdempotencyKeys(store, ports.clock)
        self.checkpoints = store.checkpoints
        self.delete_checkpoints = CheckpointDeletions(store, ports.clock, self._keys).delete
        self._forks = Forks(store, ports.clock, self._take_in)
        self._left = EndedExecutions(store, self._not_served)
        self._deletions = Deletions(
            store, ports.clock, self._logbook, self._actors.__contains__, self._lose
        )
        self._unserved: dict[ExecutionID, str] = {}
        self.is_closing = False

    # --- telling --------------------------------------------------------------------------------

    async def start(self, request: StartExecution, key: IdempotencyKey | None = None) -> Accepted:
        """Accept a run durably, and run it."""
        self._check_open()
        return await self._keys.answer(key, lambda: self._begin(request, key))

    async def answered(self, key: IdempotencyKey | None) -> Accepted | None:
        """What the key was answered before, or None."""
        return await self._keys.answered(key)

    async def signal(
        self, execution_id: ExecutionID, signal: Signal, key: IdempotencyKey | None = None
    ) -> Accepted:
        """Tell an execution something; answers after the commit."""
        self._check_open()
        return await self._keys.answer(key, lambda: self._tell(execution_id, signal, key))

    async def _tell(
        self, execution_id: ExecutionID, signal: Signal, key: IdempotencyKey | None
    ) -> Accepted:
        self._check_open()
        actor = self._actors.get(execution_id)
        if actor is not None:
            accepted = await actor.tell(signal, key)
            await self._family.settled(execution_id)
            return accepted
        return await self._left.tell(execution_id, signal, key, self._ports.clock.now())

    async def _begin(self, request: StartExecution, key: IdempotencyKey | None) -> Accepted:
        self._check_open()
        execution_id = request.execution_id or new_execution_id()
        if execution_id in self._actors:
            raise InvalidState(f"Execution {execution_id!r} has started already.")
        actor = self._actor(execution_id, ExecutionMachine())
        return await actor.tell(request.signal(execution_id), key)

    def _not_served(self, execution_id: ExecutionID) -> Unavailable:
        why = self._unserved.get(execution_id, "The server's log says why.")
        return Unavailable(f"Execution {execution_id!r} is not being served. {why}")

    def _check_open(self) -> None:
        if self.is_closing:
            raise Unavailable("The server is stopping.")

    async def fork(self, request: ForkExecution, key: IdempotencyKey | None = None) -> Accepted:
        """Let another run go on from where one was; that one does not change."""
        self._check_open()
        begin = partial(self._forks.begin, request, key)
        return await self._keys.finished(lambda: self._keys.answer(key, begin))

    async def delete(
        self, execution_id: ExecutionID, key: IdempotencyKey | None = None
    ) -> Accepted:
        """Forget an execution that has ended, with all that ran below it."""
        self._check_open()
        delete = partial(self._deletions.delete, execution_id, key)
        return await self._keys.finished(lambda: self._keys.answer(key, delete))

    def _lose(self, gone: Sequence[ExecutionID]) -> None:
        for execution_id in gone:
            self._ended.forget(execution_id)
            self._feeds.pop(execution_id, None)

    def _take_in(self, fork: Fork, has_parent: bool) -> None:  # noqa: FBT001 - a callback type.
        """Serve what has begun as a fork; what has ended at once need not be."""
        if self.is_closing:
            return  # The next runner finds it.
        state = fork.machine.state
        self._watches.saw(fork.id, fork.recorded)
        self._observers.saw(fork.id, fork.recorded)
        if state.status.is_terminal:
            self._ended.remember(view(state))
            return
        self._family.take_over(state)
        # The time is never over so soon: this only lets the actor look at what is outstanding.
        signal = BudgetTimePassed() if has_parent else AbortRequested(reason="it has no parent")
        self._actor(fork.id, fork.machine).post(signal)

    # --- looking --------------------------------------------------------------------------------

    async def view(self, execution_id: ExecutionID) -> ExecutionView | None:
        """The execution as of its last committed event."""
        actor = self._actors.get(execution_id)
        if actor is not None:
            return await actor.current_view()
        known = self._ended.find(execution_id)
        if known is not None:
            return known
        machine = await load(self._store, execution_id)
        if not machine.last_seq:
            return None
        found = view(machine.state)
        if found.status.is_terminal:
            self._ended.remember(found)
        return found

    async def events(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0)
    ) -> AsyncGenerator[Recorded, None]:
        """(after, now], then live; ends behind the terminal event.

        Raises NotFound at once, Unavailable where the execution is not served (any more).
        """
        feed = await self._feed(execution_id)
        try:
            async with aclosing(feed.read(after)) as found:
                async for recorded in found:
                    yield recorded
        finally:
            if execution_id not in self._actors and not feed.readers:
                self._feeds.pop(execution_id, None)

    async def read_events(
        self, execution_id: ExecutionID, *, after: Seq, limit: int
    ) -> Sequence[Recorded]:
        """One page of committed events."""
        return await self._store.read(execution_id, after=after, limit=limit)

    async def past(self, execution_id: ExecutionID, upto: Seq) -> ExecutionState | None:
        """The state behind an event; None for an unknown id."""
        machine = await load(self._store, execution_id, upto=upto)
        return machine.state if machine.last_seq else None

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """One page of executions, newest first."""
        return await self._store.list_executions(query)

    async def read_logs(
        self, execution_id: ExecutionID, *, after: int, limit: int, node: str | None
    ) -> Sequence[LogRecord]:
        """One page of log lines, the newest included."""
        await self._logbook.flush()
        return await self._store.read_logs(execution_id, after=after, limit=limit, node=node)

    async def follow_logs(
        self, execution_id: ExecutionID, *, after: int = 0, node: str | None = None
    ) -> AsyncGenerator[LogRecord, None]:
        """Log lines behind the cursor, then live, until the run has ended and all is read."""
        if await self._store.summary(execution_id) is None:
            raise NotFound(f"There is no execution {execution_id!r}.")
        lines = self._logbook.follow(
            execution_id, after=after, node=node, is_live=lambda: execution_id in self._actors
        )
        async with aclosing(lines):
            async for line in lines:
                yield line
        summary = await self._store.summary(execution_id)
        if summary is None or summary.status.is_active:
            raise self._not_served(execution_id)

    async def _feed(self, execution_id: ExecutionID) -> EventFeed:
        feed = self._feeds.get(execution_id)
        if feed is not None:
            return feed
        summary = await self._store.summary(execution_id)
        if summary is None:
            raise NotFound(f"There is no execution {execution_id!r}.")
        if execution_id in self._feeds:
            return self._feeds[execution_id]
        has_ended = summary.status.is_terminal
        feed = EventFeed(self._store, execution_id, summary.last_seq, has_ended=has_ended)
        if not has_ended:
            feed.fail(self._not_served(execution_id))
        self._feeds[execution_id] = feed
        return feed

    # --- children -------------------------------------------------------------------------------

    async def start_child(self, request: StartExecution) -> ExecutionID:
        """Start a child under the id that its parent's visit gives it, if it has not been yet."""
        known = self._actors.get(request.execution_id or ExecutionID(""))
        if known is not None:
            return (await known.current_view()).id
        child, parent, run = request.execution_id, request.parent_id, request.parent
        if child is not None and parent is not None and run is not None:
            request = replace(request, is_paused=self._family.is_held(parent))
            self._family.adopt(child, parent, run)
        return (await self._begin(request, None)).execution_id

    async def ended(self, execution_id: ExecutionID) -> ExecutionView:
        """The execution once it has ended. Raises NotFound."""
        async for _ in self.events(execution_id, after=await self._tail(execution_id)):
            pass
        found = await self.view(execution_id)
        if found is None:
            raise NotFound(f"There is no execution {execution_id!r}.")
        return found

    async def loaded(self, envelope: Envelope) -> Envelope:
        """The envelope with its body, however large. Raises StorageError."""
        return await self._bodies.loaded(envelope)

    async def _tail(self, execution_id: ExecutionID) -> Seq:
        """Just before the last event, so that a reader sees at least the terminal one."""
        summary = await self._store.summary(execution_id)
        if summary is None:
            raise NotFound(f"There is no execution {execution_id!r}.")
        return Seq(max(0, summary.last_seq - 1))

    async def tell_child(self, execution_id: ExecutionID, signal: Signal) -> None:
        """Tell a child what its parent does; a full disk only delays that. Raises Rejected."""
        try:
            await self._tell(execution_id, signal, None)
        except StorageError:
            actor = self._actors.get(execution_id)
            if actor is not None:
                actor.post(signal)

    def free_child(self, execution_id: ExecutionID, parent: ExecutionID) -> None:
        """Its parent runs and waits for it: it goes on if it was held with its parent."""
        actor = self._actors.get(execution_id)
        if actor is not None and not self._family.is_held(parent):
            actor.post(ResumeRequested(is_by_parent=True))

    def is_put_off(self, parent: ExecutionID, run: NodeRun) -> bool:
        """Was this visit stopped to run again later, so that its children are to be kept?"""
        return self._family.is_put_off(parent, run)

    async def depth(self, execution_id: ExecutionID) -> int:
        """How many parents an execution has."""
        count = 0
        summary = await self._store.summary(execution_id)
        while summary is not None and summary.parent_id not in (None, summary.fork_of):
            count += 1
            summary = await self._store.summary(summary.parent_id or ExecutionID(""))
        return count

    # --- the life of the runner -----------------------------------------------------------------

    async def recover(self, only: ExecutionID | None = None) -> int:
        """Take over what has not ended, or that run and all below it; gives how many those were."""
        found = await replay_active(self._store, only)
        self._unserved.update(found.unserved)
        for state in found.states:
            self._family.take_over(state)
        # All are there before the first one runs: parents look for their children.
        actors = [self._actor(each, machine) for each, machine in found.machines.items()]
        for actor in actors:
            for wish in found.wishes(found.machines[actor.id].state):
                actor.post(wish)
        return len(actors)

    async def close(self) -> None:
        """Stop everything; what was running is found by the next `recover`."""
        self.is_closing = True
        await asyncio.gather(*(actor.close() for actor in list(self._actors.values())))
        await self._family.close()
        self._actors.clear()
        await self._keys.close()
        await self._logbook.close()

    def _actor(self, execution_id: ExecutionID, machine: ExecutionMachine) -> ExecutionActor:
        feed = EventFeed(self._store, execution_id, machine.last_seq, told=self._committed)
        self._feeds[execution_id] = feed
        if machine.last_seq:
            self._observers.took_over(machine.state)
        begin = context_of(execution_id).run
        actor = begin(ExecutionActor, execution_id, machine, feed, self._parts)
        self._actors[execution_id] = actor
        return actor

    def _committed(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        self._family.saw(execution_id, events)
        self._watches.saw(execution_id, events)
        self._observers.saw(execution_id, events)

    def _forget(self, execution_id: ExecutionID, left: ExecutionView | None) -> None:
        """An actor has nothing left to do; `left` is its execution, where all of it is durable."""
        if left is not None and left.status.is_terminal:
            self._ended.remember(left)
        self._family.forget(execution_id)
        actor = self._actors.pop(execution_id, None)
        self._logbook.wake(execution_id)
        self._deletions.left(execution_id)
        if actor is not None and not actor.feed.readers:
            self._feeds.pop(execution_id, None)

    def _services(self, state: ExecutionState, run: NodeRun) -> Services:
        self._observers.entering(state.id, run)
        ports, index = self._ports, state.diagram.index_of[run.node]
        visit = (run, state.tries.get(index, 0), state.diagram.path)
        children = ChildExecutions(self, ports.load_child, state.id, visit, Inherited.of(state))
        secrets = RunSecrets(ports.secrets, self._grants, state.id)
        return Services(ports.clock, ports.files, ports.code, ports.models, children, secrets)
