"""What a contestant is to the benchmark: it prepares a workload, and runs it when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from bench.shapes import Workload


class Job(Protocol):
    """One workload, prepared: everything that could be done beforehand is done."""

    async def run(self) -> None:
        """What is timed: from the start to the (durable, if it is) end of all executions."""
        ...

    async def results(self) -> Sequence[int]:
        """What the last node of each execution gave; not timed."""
        ...


Prepare: TypeAlias = Callable[[Workload], Job]
"""Makes a job of a workload; the engine is open meanwhile."""

Once: TypeAlias = Callable[[], Awaitable[int]]
"""Runs one execution and gives what its last node gave."""


class Concurrently:
    """A job whose executions all run at once."""

    def __init__(self, workload: Workload, once: Once) -> None:
        self._executions = workload.executions
        self._once = once
        self._results: Sequence[int] = ()

    async def run(self) -> None:
        """Run them all."""
        if self._executions == 1:
            self._results = [await self._once()]
        else:
            self._results = await asyncio.gather(*(self._once() for _ in range(self._executions)))

    async def results(self) -> Sequence[int]:
        """What each of them gave."""
        return self._results
