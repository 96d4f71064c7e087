"""A store of a million events is as quick as an empty one: opened, listed, read and written."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from sqlite3 import Connection, connect
from typing import Any

import pytest

from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.chain import START, ChainEnd, add_functions
from dipeo_server.storage.codec import stamp
from dipeo_server.storage.lineage import SEQ_MAX
from dipeo_server.storage.listing import Bounds, Selection
from dipeo_server.storage.queries import load_queries
from dipeo_server.storage.rows import summary_row
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.large import LIVE, fill
from tests.storage.records import NOON, execution
from tests.storage.runs import LOOP, Run

FEW, MANY = 30, 900
RATIO_MAX = 3.0
ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED})
SQL = load_queries()
SAMPLE = execution(1_005)
QUERIES = [
    ExecutionQuery(first=10),
    ExecutionQuery(first=10, is_active=True),
    ExecutionQuery(first=10, statuses=ENDED),
    ExecutionQuery(first=10, has_waiting_barriers=True),
    ExecutionQuery(first=10, parent_id=execution(1)),
    ExecutionQuery(first=10, fork_of=execution(1)),
]


# --- counted ------------------------------------------------------------------------------------


def steps(connection: Connection, text: str, values: tuple[Any, ...]) -> int:
    """How many instructions SQLite's machine needs for the statement; it is undone again."""
    numbers = count()
    connection.execute("BEGIN")
    connection.set_progress_handler(lambda: next(numbers) and None, 1)
    connection.execute(text, values).fetchall()
    connection.set_progress_handler(None, 1)
    connection.execute("ROLLBACK")
    return next(numbers)


def statements() -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """What opening, recovering, starting, answering and listing run, with values."""
    summary = Run(execution(1)).summary
    row = summary_row(summary)
    yield "recover", SQL["active"], ()
    yield "open", SQL["live_ends"], ()
    yield "start", SQL["insert_execution"], (*row, execution(1), None, None, START)
    yield "go on", SQL["extend_execution"], (*row, SAMPLE, None, None, 1)
    yield "lineage", SQL["lineage"], (SAMPLE,)
    yield "read", SQL["read_events"], (SAMPLE, 3, SEQ_MAX, 20, 3)
    yield "look", SQL["summary"], (SAMPLE,)
    yield "answer", SQL["find_key"], ("anna", SAMPLE, stamp(NOON))
    yield "sweep", SQL["sweep_keys"], (stamp(NOON),)
    yield "lines", SQL["read_logs"], (SAMPLE, 0, 20)
    yield "cursor", SQL["position"], (SAMPLE,)
    yield "counts", SQL["counts"], ()
    for number, query in enumerate(QUERIES):
        for bounds in (Bounds(), Bounds(below=25)):
            yield f"page {number}", *Selection(query).rows(bounds, 11, oldest_first=False)


async def test_no_statement_takes_more_steps_in_a_larger_store(tmp_path: Path) -> None:
    taken = []
    for executions in (FEW, MANY):
        path = tmp_path / f"{executions}.db"
        await fill(path, executions)
        with closing(connect(path, isolation_level=None)) as connection:
            add_functions(connection, ChainEnd())
            taken.append(
                [(name, steps(connection, text, values)) for name, text, values in statements()]
            )
    for (name, few), (_, many) in zip(*taken, strict=True):
        assert many <= few * 1.1 + 10, f"{name}: {few} steps, and {many} in a larger store"


# --- measured -----------------------------------------------------------------------------------


async def seconds(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """The median of how long it takes."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def measured(path: Path) -> dict[str, float]:
    """Seconds by what was done to the store."""
    numbers = count(10_000_000)

    async def reopen() -> None:
        await (await SQLiteStore.open(path)).close()

    found = {"open": await seconds(reopen, 9)}
    store = await SQLiteStore.open(path)

    async def recover() -> None:
        for id_ in await store.active():
            assert await store.read(id_, limit=1_000)

    async def start() -> None:
        await Run(execution(next(numbers)), text=LOOP).abort().end().write(store)

    async def look() -> None:
        assert await store.read(SAMPLE, limit=20)

    found["recover"] = await seconds(recover, 9)
    found["look"] = await seconds(look, 99)
    for number, query in enumerate(QUERIES):
        found[f"list {number}"] = await seconds(partial(store.list_executions, query), 49)
    found["start"] = await seconds(start, 49)
    await store.close()
    return found


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("events", [1_000_000])
async def test_a_million_events_are_no_burden(tmp_path: Path, events: int) -> None:
    few, many = tmp_path / "few.db", tmp_path / "many.db"
    per_run = await fill(few, FEW + LIVE) // (FEW + LIVE)
    began = time.perf_counter()
    written = await fill(many, events // per_run)
    print(f"{written:,} events in {time.perf_counter() - began:.0f} s")
    assert written >= events
    os.sync()  # Or every commit would have to wait for what was just written.
    small, large = await measured(few), await measured(many)
    for name, base in small.items():
        print(f"{name}: {base * 1e3:.2f} ms, {large[name] * 1e3:.2f} ms with {written:,} events")
    ratios = {name: large[name] / base for name, base in small.items()}
    assert not {name: ratio for name, ratio in ratios.items() if ratio > RATIO_MAX}
