"""Hamilton with its asynchronous driver: nothing is kept, and there are no loops."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hamilton import ad_hoc_utils, async_driver

from bench.engine import Concurrently, Prepare
from bench.shapes import Workload


@asynccontextmanager
async def opened(mode: str, folder: Path) -> AsyncIterator[Prepare]:
    """There is nothing to open."""
    sys.setrecursionlimit(100_000)  # Its driver walks a chain of nodes recursively.
    yield _prepared


def _prepared(workload: Workload) -> Concurrently:
    last = f"n{len(workload.parents) - 1}"
    module = ad_hoc_utils.create_temporary_module(
        *(_node(index, sources) for index, sources in enumerate(workload.parents))
    )
    driver = async_driver.Builder().with_modules(module).build_without_init()

    async def once() -> int:
        await driver.ainit()
        found: int = (await driver.execute([last]))[last]
        return found

    return Concurrently(workload, once)


def _node(index: int, sources: tuple[int, ...]) -> Callable[..., Awaitable[int]]:
    """A function whose parameters are named after the nodes that it gets results of."""

    async def add(**inputs: int) -> int:
        return 1 + sum(inputs.values())

    names = [f"n{source}" for source in sources]
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=int) for name in names
    ]
    add.__name__ = f"n{index}"
    add.__annotations__ = {**dict.fromkeys(names, int), "return": int}
    add.__signature__ = inspect.Signature(named, return_annotation=int)  # type: ignore[attr-defined] # functions may have one
    return add
