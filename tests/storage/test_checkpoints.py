"""Checkpoints in both stores; and what becomes of damaged ones."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.checkpoint import CheckpointTrigger
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.storage.backup import back_up
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.pruning import Choice, prune_store
from dipeo_server.storage.sqlite import SQLiteStore
from dipeo_server.storage.verification import verify_store
from tests.builders import Story
from tests.storage.checkpoint_conformance import Checkpoints
from tests.storage.records import NOON


class TestMemoryCheckpoints(Checkpoints):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestSQLiteCheckpoints(Checkpoints):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
        opened = await SQLiteStore.open(tmp_path / "store.db")
        yield opened
        await opened.close()


# --- beside the log on disk -----------------------------------------------------------------------


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with a run that has ended, and checkpoints of real states."""
    found = tmp_path / "store.db"
    names = ["s", *(f"q{number}" for number in range(1, 6))]
    story = Story(" -> ".join(names), wish={"checkpoints": (CheckpointTrigger.EVERY_STEP,)})
    for name in names:
        story.returns(name, f"of {name}")
    store = await SQLiteStore.open(found)
    await store.append(
        story.state.id,
        story.log,
        after=Seq(0),
        summary=summary_of(story.state),
        checkpoints=story.machine.taken(),
    )
    await store.close()
    return found


def change(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
        return rows


async def test_what_is_sound_is_found_to_be(path: Path) -> None:
    verdict = verify_store(path)
    assert verdict.is_sound, verdict.damage


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE checkpoints SET payload = CAST('{}' AS BLOB) WHERE base = at",
        "UPDATE checkpoints SET next_node = 'x'",
        "DELETE FROM checkpoints WHERE at = (SELECT base FROM checkpoints WHERE base < at)",
    ],
)
async def test_damage_is_told_and_is_not_that_of_the_log(path: Path, sql: str) -> None:
    """004-50"""
    change(path, sql)
    damage = verify_store(path).damage
    assert damage
    assert all("only a cache" in each.message for each in damage)
    assert {each.execution_id for each in damage} == {"x"}


async def test_a_backup_has_them(path: Path, tmp_path: Path) -> None:
    back_up(path, tmp_path / "copy.db")
    every = "SELECT * FROM checkpoints ORDER BY at"
    assert change(tmp_path / "copy.db", every) == change(path, every) != []


async def test_they_are_pruned_with_their_run(path: Path) -> None:
    later = NOON + timedelta(days=900)
    pruned = prune_store(path, Choice(later), now=later, tell=lambda *_: None)
    assert pruned.executions == 1
    assert change(path, "SELECT count(*) FROM checkpoints") == [(0,)]


async def test_what_nothing_rests_on_is_deleted_from_the_file(path: Path) -> None:
    store = await SQLiteStore.open(path)
    x = ExecutionID("x")
    newest = (await store.checkpoints.listed(x))[-1].at
    assert await store.checkpoints.prune(x, keep=1) == 5
    left = change(path, "SELECT count(*), sum(is_kept) FROM checkpoints")
    assert left[0][1] == 1
    await store.checkpoints.delete(x, newest)
    assert change(path, "SELECT count(*) FROM checkpoints") == [(0,)]
    await store.close()
