"""A deterministic event loop: virtual time, seeded order, processes that die between two callbacks.

Nothing here waits for anything real. When no callback is ready, time jumps to the next timer; when
there is none either, the simulated world has come to a halt, and that is an error. Which of the
ready callbacks runs next is a matter of the seed. Only callbacks of one and the same future keep
their order, because asyncio promises that much and no more: in a real program the order of all
others depends on when the network, the disk and the timers answer.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from enum import StrEnum
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_MAX = 200_000


class Halted(AssertionError):
    """Nothing is ready and no timer runs, but the simulation is not over."""


class RunAway(AssertionError):
    """The simulation takes more steps than any sensible one does."""


class Order(StrEnum):
    """Which ready callback runs next: the oldest, any, or mostly the newest."""

    OLDEST = "oldest"
    ANY = "any"
    NEWEST = "newest"


class Process:
    """A server process: what it started dies with it, between two callbacks, without a word."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_alive = True
        self.context: Context = copy_context()
        self.context.run(_OWNER.set, self)


_OWNER: ContextVar[Process | None] = ContextVar("owner", default=None)


def current_process() -> Process:
    """The process whose code is running. Raises LookupError outside any."""
    found = _OWNER.get()
    if found is None:
        raise LookupError("This code belongs to no process.")
    return found


class _Numbered:
    """Hashed by age instead of by address, so that sets of them have the same order every time."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class SimulatedFuture(_Numbered, asyncio.Future[Any]):
    """A future with a number."""

    def __init__(self, number: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)


class SimulatedTask(_Numbered, asyncio.Task[Any]):
    """A task with a number, and a decent end for one that died with its process."""

    _log_destroy_pending: bool
    _log_traceback: bool

    def __init__(
        self,
        number: int,
        coroutine: Coroutine[Any, Any, Any],
        *,
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self._number = number
        self.owner = context.get(_OWNER)
        super().__init__(coroutine, loop=loop, context=context)

    def describe(self) -> str:
        """Its name, and what it does."""
        return f"{self.get_name()} ({getattr(self.get_coro(), '__qualname__', '')})"

    def is_unheard(self) -> bool:
        """Did it raise something that nobody has looked at?"""
        return self.done() and not self.cancelled() and self._log_traceback

    def bury(self) -> None:
        """Let go of its frames, long after the story has ended."""
        if self.done():
            self.cancelled() or self.exception()
            return
        self._log_destroy_pending = False
        body = self.get_coro()
        for _ in range(8):
            # Perhaps it awaits something while it is being closed; it will not do so for long.
            with suppress(Exception):
                assert body is not None
                body.close()
                return


class _Call(asyncio.TimerHandle):
    """A callback, who owns it, and whose order it keeps."""

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.owner = context.get(_OWNER)
        self.queue = args[0] if args and isinstance(args[0], asyncio.Future) else None

    def is_void(self) -> bool:
        """Will it never run?"""
        return self.cancelled() or (self.owner is not None and not self.owner.is_alive)

    def fire(self) -> None:
        """Run it."""
        self._run()


def _given(context: Context | None) -> Context:
    return copy_context() if context is None else context  # An empty one counts as false.


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop; `after_step` is called between any two callbacks."""

    def __init__(
        self, chance: random.Random, order: Order = Order.ANY, *, steps_max: int = STEPS_MAX
    ) -> None:
        super().__init__()
        self._chance = chance
        self._order = order
        self._now = 0.0
        self._calls: list[_Call] = []
        self._timers: list[tuple[float, int, _Call]] = []
        self._serial = itertools.count(1)
        self._behind: list[Callable[[], None]] = []
        self._steps_max = steps_max
        self.steps = 0
        self.tasks: list[SimulatedTask] = []
        self.problems: list[str] = []
        self.after_step: Callable[[Process | None], None] = lambda _: None
        self.set_task_factory(self._new_task)
        self.set_exception_handler(self._note)

    # --- what asyncio asks of a loop ------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        """A future whose place in sets does not depend on its address."""
        return SimulatedFuture(next(self._serial), loop=self)

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Make a callback ready."""
        call = _Call(self._now, callback, args, self, _given(context))
        self._calls.append(call)
        return call

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """The same: there is one thread only."""
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a callback ready at a virtual time."""
        call = _Call(when, callback, args, self, _given(context))
        heapq.heappush(self._timers, (when, next(self._serial), call))
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a callback ready after virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def run_in_executor(
        self, _executor: object, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Call it, with nothing beside it: there is one thread only."""
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done

    # --- what the simulation asks of it ---------------------------------------------------------

    def behind_this(self, callback: Callable[[], None]) -> None:
        """Call it as soon as the callback has ended that is running now."""
        self._behind.append(callback)

    def drop(self, process: Process) -> None:
        """Forget everything that a dead process was about to do."""
        self._calls = [call for call in self._calls if call.owner is not process]

    def bury(self) -> None:
        """Let go of whatever is left, and close."""
        self._calls.clear()
        self._timers.clear()
        self._steps_max = self.steps + STEPS_MAX
        self.run_until_complete(self._bury(self.tasks))
        self.tasks = []
        self.close()

    async def _bury(self, tasks: list[SimulatedTask]) -> None:
        me = asyncio.current_task()
        for task in tasks:
            if task is not me:
                task.bury()

    def _run_once(self) -> None:
        """One callback."""
        self._wake_timers()
        while not self._calls:
            if not self._timers:
                raise Halted(f"Nothing will ever happen again; waiting: {self._waiting()}")
            self._now = max(self._now, self._timers[0][0])
            self._wake_timers()
        self.steps += 1
        if self.steps > self._steps_max:
            raise RunAway(f"{self.steps} steps; waiting: {self._waiting()}")
        call = self._next()
        if not call.is_void():
            call.fire()
        behind, self._behind = self._behind, []
        for callback in behind:
            callback()
        self.after_step(call.owner)

    def _wake_timers(self) -> None:
        while self._timers and (self._timers[0][0] <= self._now or self._timers[0][2].is_void()):
            _, _, call = heapq.heappop(self._timers)
            if not call.is_void():
                self._calls.append(call)

    def _next(self) -> _Call:
        place = 0
        if self._order is not Order.OLDEST:
            if self._chance.random() < 0.01:
                self._now += self._chance.uniform(0.0, 0.02)  # A busy machine.
            place = self._chance.randrange(len(self._calls))
            if self._order is Order.NEWEST and self._chance.random() < 0.7:
                place = len(self._calls) - 1
        queue = self._calls[place].queue
        if queue is not None:
            place = next(i for i, call in enumerate(self._calls) if call.queue is queue)
        return self._calls.pop(place)

    def _new_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        context: Context | None = None,
        **_: Any,
    ) -> asyncio.Task[T]:
        assert isinstance(coroutine, Coroutine)
        context = _given(context)
        task = SimulatedTask(next(self._serial), coroutine, loop=loop, context=context)
        self.tasks.append(task)
        return task

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _waiting(self) -> str:
        return ", ".join(task.get_name() for task in self.tasks if not task.done())[:1_000]
