"""The reconciler: what should be in flight is started, what should not be any more is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial

import structlog

from dipeo_server.domains.execution.commands import Command, CommandKey
from dipeo_server.domains.execution.events import Failure
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.signals import NodeRaised, NodeStopped, Signal

log = structlog.get_logger(__name__)

KILL_SECONDS = 1.0
"""What a handler has, behind its grace, to kill what it started."""
CLOSE_SECONDS = 5.0
_GONE = -2
"""The place of nodes that are no more in the graph."""

Work = Callable[[Command], Callable[[], Awaitable[Signal]]]
"""What to do for a command: called at once when it is due, the result of that in a task."""
Post = Callable[[Signal], None]


class Inflight:
    """The running tasks of one execution, by command key and node index."""

    def __init__(self, work: Work, post: Post, ended: Callable[[], None]) -> None:
        """`ended` is called whenever there is one task less."""
        self._work = work
        self._post = post
        self._ended = ended
        self._keys: dict[int, CommandKey] = {}
        self._stopping: dict[int, asyncio.Task[None]] = {}
        self._tasks: dict[CommandKey, asyncio.Task[None]] = {}
        self._all: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._all)

    def has(self, run: NodeRun) -> bool:
        """Is a handler of this NodeRun in flight, or being stopped?"""
        task = self._tasks.get(("run", run))
        return task is not None and not task.done()

    def is_busy(self, index: int) -> bool:
        """Is a handler in flight for the node with that index?"""
        key = self._keys.get(index)
        run = None if key is None else _run_of(key)
        return run is not None and self.has(run)

    def indexes(self) -> Collection[int]:
        """The nodes that something was started for which was not called off since."""
        return self._keys.keys()

    def reconcile(self, changes: Mapping[int, Command | None], grace_seconds: float) -> None:
        """Bring what runs in line with what should; `changes` are by node index."""
        if self._is_closing:
            return
        for index, command in changes.items():
            current = self._keys.get(index)
            wanted = None if command is None else command.key
            if current == wanted:
                continue
            if current is not None:
                del self._keys[index]
                self._stop(index, current, grace_seconds)
            if command is not None:
                self._start(index, command)

    def move(self, places: Mapping[int, int], grace_seconds: float) -> None:
        """Nodes have other indexes, by their old ones; what is in flight for others is stopped."""
        keys, self._keys = self._keys, {}
        stopping, self._stopping = self._stopping, {}
        for index, task in stopping.items():
            if index in places:
                self._stopping[places[index]] = task
        for index, key in keys.items():
            if index in places:
                self._keys[places[index]] = key
            else:
                self._stop(_GONE, key, grace_seconds)

    async def close(self) -> None:
        """Cancel everything and wait for it, but not for ever; nothing is started any more."""
        self._is_closing = True
        if not self._all:
            return
        for task in self._all:
            task.cancel()
        _, pending = await asyncio.wait(self._all, timeout=CLOSE_SECONDS)
        for task in pending:
            log.error("handler_ignores_cancellation", task=task.get_name())

    def _start(self, index: int, command: Command) -> None:
        key, run = command.key, command.node_run
        self._keys[index] = key
        work = self._run(self._work(command), run, self._stopping.pop(index, None))
        self._tasks[key] = self._spawn(work, run.node or key[0], key)

    def _spawn(
        self, work: Coroutine[None, None, None], name: str, key: CommandKey | None = None
    ) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._all.add(task)
        task.add_done_callback(partial(self._forget, key))
        return task

    def _forget(self, key: CommandKey | None, task: asyncio.Task[None]) -> None:
        # The same timer may run again already: a pause was over before the old one had ended.
        if key is not None and self._tasks.get(key) is task:
            del self._tasks[key]
        self._all.discard(task)
        self._ended()

    async def _run(
        self,
        work: Callable[[], Awaitable[Signal]],
        run: NodeRun,
        behind: asyncio.Task[None] | None,
    ) -> None:
        """Do it, once the node's attempt before is really over: no two may have effects at once."""
        try:
            if behind is not None and not behind.done():
                await asyncio.wait({behind})
            signal = await work()
        except Exception as error:
            log.exception("command_failed", node=run.node)
            kind = type(error).__name__
            signal = NodeRaised(run, Failure("INTERNAL", kind, run.node, error_type=kind))
        if not (self._is_closing and _is_cancelled()):
            self._post(signal)  # What a handler makes of the end of the process is no result.

    def _stop(self, index: int, key: CommandKey, grace_seconds: float) -> None:
        task = self._tasks.get(key)
        if task is None or task.done():
            return
        run = _run_of(key)
        if run is None:
            task.cancel()
            return
        self._stopping[index] = task
        self._spawn(self._stop_run(task, run, grace_seconds), f"stop {task.get_name()}")

    async def _stop_run(self, task: asyncio.Task[None], run: NodeRun, grace_seconds: float) -> None:
        """Cancel a handler and tell when it has ended; one that will not end is given up."""
        # A task that has just posted its outcome is left to end by itself.
        await asyncio.sleep(0)
        if task.done():
            return
        task.cancel()
        _, pending = await asyncio.wait({task}, timeout=grace_seconds + KILL_SECONDS)
        if pending:
            log.error("handler_ignores_cancellation", node=run.node, occurrence=run.occurrence)
        self._post(NodeStopped(run, "cancelled"))


def _run_of(key: CommandKey) -> NodeRun | None:
    """The visit that a handler is for; None for timers."""
    kind, what = key
    return what if kind == "run" and isinstance(what, NodeRun) else None


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
