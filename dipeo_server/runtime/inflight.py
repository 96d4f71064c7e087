"""The reconciler: what should be in flight is started, what should not be any more is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from dipeo_server.domains.execution.commands import Command, CommandKey
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.signals import NodeStopped, Signal

log = structlog.get_logger(__name__)

Perform = Callable[[Command], Awaitable[Signal]]
Post = Callable[[Signal], None]


class Inflight:
    """The running tasks of one execution, by command key and node index."""

    def __init__(self, perform: Perform, post: Post) -> None:
        self._perform = perform
        self._post = post
        self._keys: dict[int, CommandKey] = {}
        self._tasks: dict[CommandKey, asyncio.Task[None]] = {}
        self._stoppers: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._tasks) + len(self._stoppers)

    def reconcile(self, changes: Mapping[int, Command | None], grace_seconds: float) -> None:
        """Bring what runs in line with what should; `changes` are by node index."""
        for index, command in changes.items():
            current = self._keys.get(index)
            wanted = None if command is None else command.key
            if current == wanted:
                continue
            if current is not None:
                del self._keys[index]
                self._stop(current, grace_seconds)
            if command is not None:
                self._start(index, command)

    def _start(self, index: int, command: Command) -> None:
        key = command.key
        self._keys[index] = key
        name = f"{key[0]} {key[1].node} #{key[1].occurrence}.{key[1].attempt}"
        task = asyncio.create_task(self._run(command), name=name)
        self._tasks[key] = task
        task.add_done_callback(lambda _done: self._tasks.pop(key, None))

    async def _run(self, command: Command) -> None:
        self._post(await self._perform(command))

    def _stop(self, key: CommandKey, grace_seconds: float) -> None:
        task = self._tasks.get(key)
        if task is None or task.done():
            return
        if key[0] == "timer":
            task.cancel()
            return
        stopper = asyncio.create_task(self._stop_run(task, key[1], grace_seconds))
        self._stoppers.add(stopper)
        stopper.add_done_callback(self._stoppers.discard)

    async def _stop_run(self, task: asyncio.Task[None], run: NodeRun, grace_seconds: float) -> None:
        """Cancel a handler and tell when it has ended; one that will not end is given up."""
        # A task that has just posted its outcome is left to end by itself.
        await asyncio.sleep(0)
        if task.done():
            return
        task.cancel()
        _, pending = await asyncio.wait({task}, timeout=grace_seconds + 1.0)
        if pending:
            log.error("handler_ignores_cancellation", node=run.node, occurrence=run.occurrence)
        if not self._is_closing:
            self._post(NodeStopped(run, "cancelled"))

    async def close(self) -> None:
        """Cancel everything and wait for it; nothing is posted any more."""
        self._is_closing = True
        tasks = [*self._tasks.values(), *self._stoppers]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
