"""Whatever is asked of a list, SQLite answers as memory does, and by a walk of one index."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection, connect

import pytest

from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionQuery, ExecutionSummary
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.chain import ChainEnd, add_functions
from dipeo_server.storage.listing import Bounds, Selection
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.queries import load_migrations, load_queries
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.records import NOON, events, execution, row

FAILED, COMPLETED = ExecutionStatus.FAILED, ExecutionStatus.COMPLETED
ENDED = frozenset({FAILED, COMPLETED})

FILTERS = [
    ExecutionQuery(),
    ExecutionQuery(statuses=frozenset({FAILED})),
    ExecutionQuery(statuses=ENDED),
    ExecutionQuery(statuses=ENDED, is_active=True),
    ExecutionQuery(is_active=True),
    ExecutionQuery(is_active=False),
    ExecutionQuery(diagram_id="d1"),
    ExecutionQuery(diagram_id="d1", statuses=ENDED),
    ExecutionQuery(parent_id=execution(0)),
    ExecutionQuery(has_waiting_barriers=True),
    ExecutionQuery(has_waiting_barriers=False, statuses=ENDED),
    ExecutionQuery(started_after=NOON + timedelta(hours=20), is_active=True),
    ExecutionQuery(started_before=NOON + timedelta(hours=20)),
]


def some(count: int) -> Iterator[ExecutionSummary]:
    chance = random.Random(count)
    for number in range(count):
        yield row(
            execution(number),
            1,
            chance.choice(list(ExecutionStatus)),
            diagram_id=chance.choice([None, "d1", "d2"]),
            parent_id=chance.choice([None, None, execution(0)]),
            started_at=chance.choice([None, NOON + timedelta(hours=number)]),
            waiting_barriers=chance.choice([0, 0, 2]),
        )


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(tmp_path / "store.db")
    yield store
    await store.close()


async def test_sqlite_and_memory_give_the_same_pages(sqlite: SQLiteStore) -> None:
    memory = MemoryStore()
    for summary in some(40):
        for store in (memory, sqlite):
            await store.append(summary.id, events(1), after=Seq(0), summary=summary)
    cursors = [execution(number) for number in (0, 7, 8, 20, 39)]
    between: list[tuple[ExecutionID | None, ExecutionID | None]] = [
        (None, None),
        *((after, None) for after in cursors),
        *((None, before) for before in cursors),
        *((newer, older) for older, newer in itertools.combinations(cursors, 2)),
    ]
    pages = itertools.product(FILTERS, between, (1, 5, 100), (False, True))
    for query, (after, before), size, is_backward in pages:
        asked = replace(query, after=after, before=before, first=size)
        if is_backward:
            asked = replace(asked, last=size)
        assert await sqlite.list_executions(asked) == await memory.list_executions(asked), asked


@pytest.fixture
def connection() -> Iterator[Connection]:
    with closing(connect(":memory:")) as connection:
        add_functions(connection, ChainEnd())
        for migration in load_migrations():
            connection.executescript(migration)
        yield connection


@pytest.mark.parametrize("query", FILTERS)
@pytest.mark.parametrize("oldest_first", [False, True])
def test_no_page_has_to_be_sorted(
    connection: Connection, query: ExecutionQuery, oldest_first: bool
) -> None:
    """So a page of a million executions costs what a page of a hundred does."""
    selection = Selection(query)
    if not selection.statuses:
        return
    text, values = selection.rows(Bounds(below=9, above=3), 50, oldest_first=oldest_first)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
    steps = [step[-1] for step in plan]
    assert not [step for step in steps if "TEMP B-TREE" in step], steps
    assert not [step for step in steps if step.startswith("SCAN executions")], steps


@pytest.mark.parametrize(
    "query, index",
    [
        (ExecutionQuery(statuses=ENDED), "executions_status"),
        (ExecutionQuery(is_active=True), "executions_status"),
        (ExecutionQuery(parent_id=execution(0), statuses=ENDED), "executions_parent"),
        (ExecutionQuery(diagram_id="d1", is_active=True), "executions_diagram"),
        (ExecutionQuery(has_waiting_barriers=True, is_active=True), "executions_waiting"),
    ],
)
def test_the_index_that_tells_most_is_walked(
    connection: Connection, query: ExecutionQuery, index: str
) -> None:
    text, values = Selection(query).rows(Bounds(below=9), 50, oldest_first=False)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
    steps = [step[-1] for step in plan if "executions" in step[-1]]
    assert steps
    assert all(f"USING INDEX {index} " in step for step in steps), steps


def plan(connection: Connection, text: str) -> list[str]:
    """The steps in which SQLite would run the statement."""
    numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
    values = (1,) * (max(numbers) if numbers else text.count("?"))
    return [step[-1] for step in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]


SORTED = "USE TEMP B-TREE FOR ORDER BY"
COUNTED = "SCAN execution_counts"
"""A row for each status, however many executions there are."""


@pytest.mark.parametrize("name", sorted(load_queries()))
def test_nothing_scans_or_sorts_a_table(connection: Connection, name: str) -> None:
    """So opening, recovering, starting and reading cost what they do in an empty store."""
    steps = plan(connection, load_queries()[name])
    if name == "counts":
        steps.remove(COUNTED)
    if name == "active":  # What is live, and that alone, is put in order.
        steps.remove(SORTED)
    if name == "lineage":  # A row for each fork on the way, and nothing else.
        steps = [step for step in steps if step not in ("SCAN l", "SCAN lineage")]
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step], steps
