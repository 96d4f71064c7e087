"""One run of an executor while it lives: its runner, its end, and the way to tell it something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final, TypeAlias

from dipeo_server.domains.execution.checkpoint import Checkpoint
from dipeo_server.domains.execution.events import (
    CheckpointFailed,
    Event,
    ExecutionStatusChanged,
    PauseCause,
    Recorded,
)
from dipeo_server.domains.execution.history import checkpoint_told
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import Accepted, StartExecution
from dipeo_server.domains.execution.signals import AbortRequested, CheckpointRequested, Signal
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import ConcurrentAppend, ExecutionFinished, InvalidState, NotFound
from dipeo_server.executors.hosting import Hosting
from dipeo_server.runtime.local import LocalRunner

LIMITS: Final = frozenset(
    {
        PauseCause.MAX_STEPS,
        PauseCause.MAX_TOKENS,
        PauseCause.MAX_SECONDS,
        PauseCause.CHECKPOINT,
    }
)
"""What ends a run of an executor that would else be held, with nobody to let it go on."""

_kept: Final[set[asyncio.Task[ExecutionView]]] = set()
"""Runs go on whether or not anybody holds on to their streams and handles."""

_served: Final[set[tuple[int, ExecutionID]]] = set()
"""The runs that live in this process, by store: each is run once."""

Claim: TypeAlias = Callable[[ExecutionID], None]
"""Says that a run is to be run here. Raises AlreadyRunning."""

Begin: TypeAlias = Callable[[StateStore, LocalRunner, Claim], Awaitable[ExecutionID]]
"""Lets a run begin, or go on."""


class AlreadyRunning(InvalidState):
    """A run of that id has begun in this store, and has not ended."""

    code = "ALREADY_RUNNING"
    default_hint = (
        "Wait for it, or take another thread_id; where the process that ran it is gone, give "
        "stored_results(store, thread_id) as initial_state to go on from there."
    )


class LiveRun:
    """A run that was accepted; its runner closes when it has ended."""

    def __init__(
        self,
        run_id: ExecutionID,
        runner: LocalRunner,
        store: StateStore,
        task: asyncio.Task[ExecutionView],
    ) -> None:
        self.id = run_id
        self.runner = runner
        self._store = store
        self._task = task

    @classmethod
    async def begun(cls, hosting: Hosting, request: StartExecution) -> LiveRun:
        """Start a run. Raises AlreadyRunning, InvalidState, InvalidInput, StorageError."""
        return await cls.of(hosting, partial(_begin, request))

    @classmethod
    async def of(cls, hosting: Hosting, begin: Begin) -> LiveRun:
        """A run that begins, or goes on, in this process. Raises whatever `begin` does."""
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[tuple[ExecutionID, LocalRunner]] = loop.create_future()
        task = loop.create_task(_live(hosting, begin, begun), name="executor")
        _kept.add(task)
        task.add_done_callback(_let_go)
        task.add_done_callback(lambda _: begun.cancel())
        try:
            run_id, runner = await asyncio.shield(begun)
        except asyncio.CancelledError:
            if task.done():
                await task  # It could not begin, and says why.
            await _never_mind(hosting.store, task, begun)
            raise
        return cls(run_id, runner, hosting.store, task)

    @property
    def has_ended(self) -> bool:
        """Is it over, and its runner closed?"""
        return self._task.done()

    async def ended(self) -> ExecutionView:
        """The run once it has ended and its runner is closed."""
        return await asyncio.shield(self._task)

    def events(self, *, after: Seq = Seq(0)) -> AsyncGenerator[Recorded, None]:
        """Everything that was recorded behind `after`, then live; ends behind the last event."""
        return self.runner.events(self.id, after=after)

    async def signal(self, signal: Signal) -> Accepted:
        """Tell the run something; answers after the commit. Raises Rejected, ExecutionFinished."""
        if self.has_ended:
            view = await self.ended()
            if isinstance(signal, AbortRequested) and view.status is ExecutionStatus.ABORTED:
                return Accepted(self.id, view.last_seq)
            raise ExecutionFinished(f"The run has ended: {view.status}.")
        return await self.runner.signal(self.id, signal)

    async def checkpoint(self) -> Checkpoint:
        """Keep the state as it is. Raises ExecutionFinished, InvalidState, StorageError."""
        place = (await self.signal(CheckpointRequested())).sequence
        event = await checkpoint_told(self._read, place)
        if isinstance(event, CheckpointFailed):
            raise InvalidState(f"No checkpoint could be taken: {event.message}")
        found = None if event is None else await self._store.checkpoints.find(self.id, event.at)
        if found is not None:
            return found
        raise NotFound(f"The checkpoint of {self.id!r} at {place} is not there any more.")

    async def _read(self, after: Seq, limit: int) -> Sequence[Recorded]:
        return await self._store.read(self.id, after=after, limit=limit)

    async def ended_within_limits(self) -> tuple[ExecutionView, PauseCause | None]:
        """The run once it has ended, and what it was ended for where it would have been held."""
        async with aclosing(self.events()) as events:
            async for recorded in events:
                limit = limit_reached(recorded.event)
                if limit is not None:
                    found = await self.stop(words_for(limit))
                    # What ran may have been the last: then nothing had to be ended.
                    return found, limit if found.status is ExecutionStatus.ABORTED else None
        return await self.ended(), None

    async def stop(self, reason: str) -> ExecutionView:
        """End the run, whatever it does, and wait until it has ended."""
        with suppress(InvalidState):  # Perhaps it ended by itself.
            await self.signal(AbortRequested(reason))
        return await self.ended()


async def _never_mind(
    store: StateStore,
    task: asyncio.Task[ExecutionView],
    begun: asyncio.Future[tuple[ExecutionID, LocalRunner]],
) -> None:
    """End a run whose start was cancelled, if it came to that."""
    either: set[asyncio.Future[Any]] = {task, begun}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not begun.cancelled():
        await LiveRun(*begun.result(), store, task).stop("its start was cancelled")


def words_for(limit: PauseCause) -> str:
    """Why a run was ended that would have been held."""
    if limit is PauseCause.CHECKPOINT:
        return "no checkpoint could be taken"
    return f"limit reached: {limit}"


def limit_reached(event: Event) -> PauseCause | None:
    """What a run is held for with this event where nobody would let it go on, or None."""
    match event:
        case ExecutionStatusChanged(after=ExecutionStatus.PAUSED, cause=cause) if cause in LIMITS:
            return cause
        case _:
            return None


async def _live(
    hosting: Hosting,
    begin: Begin,
    begun: asyncio.Future[tuple[ExecutionID, LocalRunner]],
) -> ExecutionView:
    claims: set[tuple[int, ExecutionID]] = set()

    def claim(run_id: ExecutionID) -> None:
        place = (id(hosting.store), run_id)
        if place in _served:
            raise AlreadyRunning(f"The run {run_id!r} is running already.")
        _served.add(place)
        claims.add(place)

    try:
        async with hosting.runner() as runner:
            run_id = await begin(hosting.store, runner, claim)
            if not begun.done():
                begun.set_result((run_id, runner))
            return await runner.ended(run_id)
    finally:
        _served.difference_update(claims)


async def _begin(
    request: StartExecution, store: StateStore, runner: LocalRunner, claim: Claim
) -> ExecutionID:
    wanted = request.execution_id
    known = await store.summary(wanted) if wanted is not None else None
    if known is not None and known.status.is_terminal:
        message = f"The run {wanted!r} is in this store already, and has ended: {known.status}."
        hint = "Take another thread_id, and give its results as initial_state to go on from there."
        raise InvalidState(message, hint=hint)
    if known is not None:
        raise AlreadyRunning(f"The run {wanted!r} is running already.")
    try:
        run_id = (await runner.start(request)).execution_id
        claim(run_id)
        return run_id
    except ConcurrentAppend as error:
        raise AlreadyRunning(f"The run {wanted!r} is running already.") from error


def _let_go(task: asyncio.Task[ExecutionView]) -> None:
    _kept.discard(task)
    if not task.cancelled():
        task.exception()  # Whoever waits for the run is told; perhaps nobody does.
