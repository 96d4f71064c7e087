"""Both stores keep diagrams as they promise; what SQLite keeps outlives the process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from dipeo_server.domains.execution.diagram_store import DiagramQuery, StoredDiagram
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.diagram_conformance import (
    FIRST,
    LATER,
    SECOND,
    DiagramConformance,
    create,
    diagram,
    draft,
    key,
)
from tests.storage.records import NOON


class TestSQLiteDiagrams(DiagramConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
        store = await SQLiteStore.open(tmp_path / "store.db")
        yield store
        await store.close()


class TestMemoryDiagrams(DiagramConformance):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


async def test_everything_is_there_after_the_store_was_opened_again(tmp_path: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "store.db")
    await create(store, FIRST)
    await store.diagrams.update(FIRST, draft("two"), expected=1, at=LATER, key=key("k"))
    await create(store, SECOND)
    await store.diagrams.archive(SECOND, at=LATER)
    before = await store.diagrams.list_diagrams(DiagramQuery(include_archived=True))
    await store.close()
    store = await SQLiteStore.open(tmp_path / "store.db")
    page = await store.diagrams.list_diagrams(DiagramQuery(include_archived=True))
    assert page == before
    old = await store.diagrams.revision(FIRST, 1)
    assert old is not None
    assert await store.diagrams.text(old) == "one"
    answer = await store.find_answer("anna", "k", now=NOON)
    assert answer is not None
    assert answer.answer == {"diagram": FIRST, "revision": 2}
    await store.close()


async def test_a_caller_that_goes_away_leaves_no_half_of_a_change(tmp_path: Path) -> None:
    """A creation is three rows and a key; whether its caller waits changes nothing for them."""
    store = await SQLiteStore.open(tmp_path / "store.db")
    asked = [
        asyncio.create_task(
            store.diagrams.create(diagram(number), draft(), at=NOON, key=key(f"k{number}"))
        )
        for number in range(50)
    ]
    await asyncio.sleep(0)
    for task in asked[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(outcome, StoredDiagram) for outcome in outcomes) == 25
    await store.close()
    store = await SQLiteStore.open(tmp_path / "store.db")
    for number in range(50):
        found = await store.diagrams.find(diagram(number))
        answer = await store.find_answer("anna", f"k{number}", now=NOON)
        assert (found is None) == (answer is None)
        if found is not None:
            assert await store.diagrams.text(found.head) == "version: light"
    await store.close()


async def test_a_text_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SQLiteStore.open(path)
    for number in range(5):
        await create(store, diagram(number), "the same")
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        [[texts]] = connection.execute("SELECT count(*) FROM diagram_documents")
        [[revisions]] = connection.execute("SELECT count(*) FROM diagram_revisions")
    assert (texts, revisions) == (1, 5)


@pytest.mark.parametrize("table", ["diagram_revisions", "diagram_documents"])
async def test_the_past_of_a_diagram_cannot_be_changed(tmp_path: Path, table: str) -> None:
    path = tmp_path / "store.db"
    store = await SQLiteStore.open(path)
    await create(store, FIRST)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        for statement in ("UPDATE {} SET digest = 'x'", "DELETE FROM {}"):
            with pytest.raises(sqlite3.IntegrityError, match="diagrams are never"):
                connection.execute(statement.format(table))
