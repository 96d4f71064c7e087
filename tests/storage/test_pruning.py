"""Pruning takes whole families of runs that have ended, and nothing else can delete anything."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StorageError, StoreLocked
from dipeo_server.storage import pruning
from dipeo_server.storage.blobs import FileBlobs, blobs_folder
from dipeo_server.storage.inspection import NoStore
from dipeo_server.storage.pruning import Choice, Pruned, prune_store
from dipeo_server.storage.sqlite import SQLiteStore
from dipeo_server.storage.verification import verify_store
from tests.storage.records import NOON, execution, keyed, line
from tests.storage.runs import LOOP, Run
from tests.storage.test_chain import rows, tamper

LATER = NOON + timedelta(days=400)
ALL = Choice(NOON + timedelta(seconds=1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def write(path: Path, *runs: Run) -> None:
    store = await SQLiteStore.open(path)
    for run in runs:
        await run.write(store, [keyed(run.id, expires_at=LATER + timedelta(days=1))])
        await store.append_logs(run.id, [line(f"printed by {run.id}")])
    await store.close()


def prune(path: Path, choice: Choice = ALL, *, now: datetime = LATER) -> Pruned:
    return prune_store(path, choice, now=now, tell=lambda *_: None)


async def left(path: Path) -> list[ExecutionID]:
    """Every execution that is there; all that is there of any is whole and sound."""
    store = await SQLiteStore.open(path)
    found = (await store.list_executions(ExecutionQuery(first=1_000))).items
    for summary in found:
        assert len(await store.read(summary.id, limit=10_000)) == summary.last_seq
    await store.close()
    verdict = verify_store(path)
    assert verdict.damage == ()
    ids = [summary.id for summary in found]
    for table in ("log_lines", "idempotency"):
        kept = rows(path, "SELECT execution_id FROM " + table)  # noqa: S608 - names of our own.
        assert sorted(id_ for (id_,) in kept) == sorted(ids)
    assert rows(path, "SELECT * FROM pruning") == []
    return sorted(ids)


async def test_runs_that_ended_before_go_with_all_that_is_theirs(path: Path) -> None:
    old, young = NOON, NOON + timedelta(days=10)
    await write(
        path,
        Run(execution(1), at=old).end(),
        Run(execution(2), at=old),
        Run(execution(3), at=young).end(),
    )
    pruned = prune(path)
    assert (pruned.executions, pruned.events, pruned.kept) == (1, 11, 0)
    assert await left(path) == [execution(2), execution(3)]
    assert prune(path).executions == 0


async def test_only_runs_that_ended_so_are_pruned(path: Path) -> None:
    completed, aborted = Run(execution(1)).end(), Run(execution(2)).abort()
    assert aborted.summary.status.is_active  # What ran has not stopped yet.
    await write(path, completed, aborted)
    failed = frozenset({ExecutionStatus.FAILED, ExecutionStatus.ABORTED})
    assert prune(path, Choice(ALL.before, failed)).executions == 0
    assert prune(path, Choice(ALL.before, frozenset({ExecutionStatus.COMPLETED}))).executions == 1
    assert await left(path) == [execution(2)]


async def test_children_go_with_their_parents_and_never_alone(path: Path) -> None:
    young = NOON + timedelta(days=10)
    await write(
        path,
        Run(execution(1)).end(),
        Run(execution(2), parent_id=execution(1), at=young).end(),
        Run(execution(3), parent_id=execution(2)).end(),
        Run(execution(4), at=young).end(),
        Run(execution(5), parent_id=execution(4)).end(),
        Run(execution(6), parent_id=execution(99)).end(),
    )
    assert prune(path).executions == 4
    assert await left(path) == [execution(4), execution(5)]


async def test_a_run_below_which_something_runs_is_kept(path: Path) -> None:
    await write(
        path,
        Run(execution(1)).end(),
        Run(execution(2), parent_id=execution(1)).end(),
        Run(execution(3), parent_id=execution(2)),
        Run(execution(4)).end(),
    )
    pruned = prune(path)
    assert (pruned.executions, pruned.kept) == (1, 1)
    assert await left(path) == [execution(1), execution(2), execution(3)]


async def test_a_dry_run_says_the_same_and_changes_nothing(path: Path) -> None:
    await write(path, *(Run(execution(number)).end() for number in range(5)))
    before = path.read_bytes()
    dry = prune(path, Choice(ALL.before, is_dry_run=True))
    assert path.read_bytes() == before
    done = prune(path)
    assert (dry.executions, dry.events, dry.kept) == (done.executions, done.events, done.kept)
    assert await left(path) == []


async def test_any_forest_is_pruned_as_its_rules_say(path: Path) -> None:
    """Against a reference: a family goes if its root is old and has ended, and all below has."""
    chance = random.Random(8412)
    parents: dict[int, int | None] = {}
    has_ended: dict[int, bool] = {}
    runs = []
    for number in range(120):
        parent = chance.choice([None, None, *range(number)])
        parents[number], has_ended[number] = parent, chance.random() < 0.9
        at = NOON + timedelta(days=chance.choice([0, 10]))
        parent_id = None if parent is None else execution(parent)
        run = Run(execution(number), parent_id=parent_id, at=at)
        runs.append(run.end() if has_ended[number] else run)

    def root(number: int) -> int:
        parent = parents[number]
        return number if parent is None else root(parent)

    stays = {root(number) for number in parents if not has_ended[number]}
    stays |= {number for number in parents if runs[number].at > NOON}
    await write(path, *runs)
    prune(path)
    expected = [execution(number) for number in parents if root(number) in stays]
    assert await left(path) == sorted(expected)


def test_transactions_are_bounded_and_never_part_a_family() -> None:
    families: Sequence[tuple[list[int], int]] = [([1, 2], 6_000), ([3], 4_000), ([4], 1), ([5], 1)]
    alone = ([6], 1_000_000)
    batches = list(pruning.batches([*families, alone, *families]))
    assert batches == [[1, 2, 3], [4, 5], [6], [1, 2, 3], [4, 5]]


async def test_space_is_used_again_or_given_back(path: Path) -> None:
    await write(path, *(Run(execution(number), text=LOOP).turn(10).end() for number in range(20)))
    full = path.stat().st_size
    pruned = prune(path)
    assert pruned.free_bytes > full / 2
    assert path.stat().st_size == full
    pruned = prune(path, Choice(ALL.before, is_compacting=True))
    assert pruned.free_bytes == 0
    assert path.stat().st_size < full / 4
    assert await left(path) == []


async def test_what_was_pruned_cannot_be_read_in_the_file_any_more(path: Path) -> None:
    await write(path, Run(execution(1)).end("a secret value"), Run(execution(2)).end())
    assert b"a secret value" in path.read_bytes()
    prune(path, Choice(ALL.before))
    assert b"a secret value" not in path.read_bytes()


# --- blobs --------------------------------------------------------------------------------------


async def test_blobs_that_nothing_refers_to_any_more_are_pruned(path: Path) -> None:
    store = await SQLiteStore.open(path)
    both, old, never = [await store.blobs.put(data) for data in (b"both", b"old", b"never")]
    await store.close()
    refer = {"hash": both.hash, "size": both.size}
    young = NOON + timedelta(days=10)
    await write(
        path,
        Run(execution(1)).end({"all": [refer, {"hash": old.hash, "size": old.size}]}),
        Run(execution(2), at=young).end(refer),
    )
    blobs = FileBlobs(blobs_folder(path))
    partial = blobs.path_of(both.hash).with_name("partial-left")
    partial.write_bytes(b"half")
    now = datetime.now(UTC)
    assert prune(path, now=now).blobs == 0  # They are younger than an hour.
    for name in (both.hash, old.hash, never.hash):
        os.utime(blobs.path_of(name), (now.timestamp() - 4_000,) * 2)
    os.utime(partial, (now.timestamp() - 4_000,) * 2)
    dry = prune(path, Choice(ALL.before, is_dry_run=True), now=now)
    assert (dry.blobs, dry.blob_bytes) == (3, len(b"old" + b"never" + b"half"))
    assert prune(path, now=now).blobs == 3
    assert list(blobs.names()) == [both.hash]
    assert list(blobs.partials()) == []


# --- what is refused ----------------------------------------------------------------------------


async def test_a_store_that_is_open_is_not_pruned(path: Path) -> None:
    store = await SQLiteStore.open(path)
    with pytest.raises(StoreLocked, match=f"open in process {os.getpid()}"):
        prune(path)
    await store.close()


async def test_a_store_that_is_not_there_or_not_whole_is_not_pruned(path: Path) -> None:
    with pytest.raises(NoStore):
        prune(path)
    assert list(path.parent.iterdir()) == []
    await write(path, Run(execution(1)).end())
    tamper(path, "DROP INDEX executions_parent")
    with pytest.raises(StorageError, match="What the file declares is not what it should be"):
        prune(path)


@pytest.mark.parametrize(
    "statement, refusal",
    [
        ("DELETE FROM events", "events are never deleted"),
        ("DELETE FROM executions", "executions are never deleted"),
        ("INSERT INTO pruning VALUES (2)", "only executions that have ended are pruned"),
        ("INSERT INTO pruning VALUES (99)", "only executions that have ended are pruned"),
    ],
)
async def test_nothing_else_can_be_deleted(path: Path, statement: str, refusal: str) -> None:
    await write(path, Run(execution(1)).end(), Run(execution(2)))
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        pytest.raises(sqlite3.IntegrityError, match=refusal),
    ):
        connection.execute(statement)


async def test_a_mark_lets_its_execution_alone_be_deleted(path: Path) -> None:
    await write(path, Run(execution(1)).end(), Run(execution(2)).end())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO pruning VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError, match="events are never deleted"):
            connection.execute("DELETE FROM events WHERE execution = 2")
        connection.execute("DELETE FROM events WHERE execution = 1")
