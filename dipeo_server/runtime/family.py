"""Which execution started which: what holds, frees or ends a run does so with its sub-diagrams.

A run that is paused is acknowledged as paused only when the runs of its sub-diagrams are, too; so
behind the acknowledgement no node of any of them starts.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from dipeo_server.domains.execution.events import (
    TERMINAL,
    Event,
    ExecutionStatusChanged,
    NodeInterrupted,
    NodeOutputSet,
    NodeSkipped,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    PauseRequested,
    ResumeRequested,
    Signal,
)
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import DipeoError, StorageError

log = structlog.get_logger(__name__)

Tell = Callable[[ExecutionID, Signal], Awaitable[object]]
"""Tells an execution something, and comes back when it is durable. Raises DipeoError."""

_PARENT_PAUSED = "the run that started it was paused"
_PARENT_ENDED = "its parent ended"
STORAGE_RETRY_SECONDS = 0.5
"""How long nothing is told to a child that could not be told because of the disk."""


class Family:
    """The executions of this process that were started by others, and what their parents do."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._children: defaultdict[ExecutionID, dict[ExecutionID, NodeRun]] = defaultdict(dict)
        self._parents: dict[ExecutionID, ExecutionID] = {}
        self._held: set[ExecutionID] = set()
        self._freed: set[ExecutionID] = set()
        self._holds: dict[ExecutionID, int] = {}
        self._put_off: defaultdict[ExecutionID, set[NodeRun]] = defaultdict(set)
        self._telling: defaultdict[ExecutionID, set[asyncio.Task[None]]] = defaultdict(set)

    def adopt(self, child: ExecutionID, parent: ExecutionID, run: NodeRun) -> None:
        """A child begins to live, started by that visit of its parent."""
        self._children[parent][child] = run
        self._parents[child] = parent

    def take_over(self, state: ExecutionState) -> None:
        """An execution is recovered: where it stands, and whose child it is."""
        self._holds[state.id] = state.holds
        if state.is_paused and state.ending is None:
            self._held.add(state.id)
        if state.parent_id is not None and state.parent is not None:
            self.adopt(state.id, state.parent_id, state.parent)

    def forget(self, execution_id: ExecutionID) -> None:
        """An execution is not served any more."""
        parent = self._parents.pop(execution_id, None)
        if parent is not None and parent in self._children:
            self._children[parent].pop(execution_id, None)
        self._children.pop(execution_id, None)
        self._put_off.pop(execution_id, None)
        self._held.discard(execution_id)
        self._freed.discard(execution_id)
        self._holds.pop(execution_id, None)

    def holds_of(self, execution_id: ExecutionID) -> int:
        """How often it was paused, as far as is committed."""
        return self._holds.get(execution_id, 0)

    def is_held(self, execution_id: ExecutionID) -> bool:
        """Is it paused, as far as is committed?"""
        return execution_id in self._held

    def is_put_off(self, parent: ExecutionID, run: NodeRun) -> bool:
        """Was this visit stopped to run again later, so that its children are to be kept?"""
        return run in self._put_off.get(parent, ())

    def saw(self, execution_id: ExecutionID, events: Sequence[Recorded]) -> None:
        """These events of an execution are committed; tells its children what follows for them."""
        stopped: set[NodeRun] = set()
        for recorded in events:
            event = recorded.event
            match event:
                case NodeInterrupted(node_run=run, will_rerun=True):
                    stopped.add(run)
                case ExecutionStatusChanged():
                    self._moved(execution_id, event, stopped)
                case _ if isinstance(event, TERMINAL):
                    self._held.discard(execution_id)
                    self._end_children(execution_id)
                case _ if execution_id in self._put_off:
                    self._of_put_off(execution_id, event)
                case _:
                    pass
        if stopped and execution_id in self._held:
            self._put_off[execution_id] |= stopped
            self._hold(execution_id, stopped)

    async def settled(self, execution_id: ExecutionID) -> None:
        """Comes back when the children have been told what they had to be told."""
        while tasks := self._telling.get(execution_id):
            await asyncio.wait(set(tasks))

    async def close(self) -> None:
        """Tell nobody any more."""
        tasks = {task for tasks in self._telling.values() for task in tasks}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- what follows for children --------------------------------------------------------------

    def _moved(
        self, execution_id: ExecutionID, event: ExecutionStatusChanged, stopped: set[NodeRun]
    ) -> None:
        if event.ending is not None:
            self._held.discard(execution_id)
        elif event.after is ExecutionStatus.PAUSED:
            self._held.add(execution_id)
            self._freed.discard(execution_id)
            self._holds[execution_id] = self.holds_of(execution_id) + 1
            self._hold(execution_id, stopped)
        elif event.before is ExecutionStatus.PAUSED:
            self._held.discard(execution_id)
            self._freed.add(execution_id)
            if event.step is None:  # A step frees what it runs alone, when that looks for it.
                self._spread(execution_id, lambda _: ResumeRequested(is_by_parent=True))

    def _of_put_off(self, execution_id: ExecutionID, event: Event) -> None:
        match event:
            case NodeStarted(node_run=run):
                self._went_on(execution_id, run.node)
            case NodeSkipped(node=node):
                self._given_up(execution_id, node)
            case NodeOutputSet(node_run=run):
                self._given_up(execution_id, run.node)
            case _:
                pass

    def _given_up(self, execution_id: ExecutionID, node: str) -> None:
        """A visit that was put off will not run again: nobody waits for its children any more."""
        if any(run.node == node for run in self._put_off[execution_id]):
            self._went_on(execution_id, node)
            self._end_children(execution_id, node)

    def _went_on(self, execution_id: ExecutionID, node: str) -> None:
        kept = {each for each in self._put_off[execution_id] if each.node != node}
        if kept:
            self._put_off[execution_id] = kept
        else:
            del self._put_off[execution_id]

    def _hold(self, execution_id: ExecutionID, stopped: set[NodeRun]) -> None:
        def wish(run: NodeRun) -> Signal | None:
            mode = PauseMode.NOW if run in stopped else PauseMode.DRAIN
            return PauseRequested(mode, reason=_PARENT_PAUSED, is_by_parent=True)

        self._spread(execution_id, wish)

    def _end_children(self, execution_id: ExecutionID, node: str | None = None) -> None:
        def wish(run: NodeRun) -> Signal | None:
            is_meant = node in (None, run.node)
            return AbortRequested(reason=_PARENT_ENDED) if is_meant else None

        self._spread(execution_id, wish)

    def _spread(self, execution_id: ExecutionID, wish: Callable[[NodeRun], Signal | None]) -> None:
        for child, run in self._children.get(execution_id, {}).items():
            signal = wish(run)
            if signal is None:
                continue
            passing = self._pass_on(execution_id, child, signal)
            task = asyncio.create_task(passing, name=f"tell {child}")
            self._telling[execution_id].add(task)
            task.add_done_callback(lambda done: self._told(execution_id, done))

    def _told(self, execution_id: ExecutionID, done: asyncio.Task[None]) -> None:
        tasks = self._telling[execution_id]
        tasks.discard(done)
        if not tasks:
            del self._telling[execution_id]

    async def _pass_on(self, parent: ExecutionID, child: ExecutionID, signal: Signal) -> None:
        """Tell a child, however long the disk keeps it from being recorded."""
        # Tasks may be late; what the parent has taken back meanwhile is not told any more.
        while self._is_wanted(parent, signal):
            try:
                await self._tell(child, signal)
            except StorageError as error:
                if not error.is_lasting:
                    await asyncio.sleep(STORAGE_RETRY_SECONDS)
                    continue
            except DipeoError as error:
                # It ended by itself, or will be told again by a restart.
                wish = type(signal).__name__
                log.info("child_not_told", execution_id=child, wish=wish, why=error)
            return

    def _is_wanted(self, parent: ExecutionID, signal: Signal) -> bool:
        """Has the parent not gone on since it was held, or not been held since it went on?"""
        match signal:
            case PauseRequested():
                return parent not in self._freed  # Held as it was when it began to end.
            case ResumeRequested():
                return parent not in self._held
            case _:
                return True
