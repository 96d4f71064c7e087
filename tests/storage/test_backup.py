"""A backup is one moment of a store, whole and verified, or it is not there."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from dipeo_server.errors import BlobDamaged, InvalidInput, StorageFull
from dipeo_server.storage.backup import DamagedCopy, back_up
from dipeo_server.storage.blobs import FileBlobs, blobs_folder
from dipeo_server.storage.inspection import NoStore
from dipeo_server.storage.sqlite import SQLiteStore
from dipeo_server.storage.verification import verify_store
from tests.storage.disks import small_disk
from tests.storage.records import execution, keyed, line
from tests.storage.runs import LOOP, Run
from tests.storage.test_chain import tamper


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    store = await SQLiteStore.open(path)
    ref = await store.blobs.put(b"large" * 1_000)
    for number in range(5):
        run = Run(execution(number)).end({"hash": ref.hash, "size": ref.size})
        await run.write(store, [keyed(str(number))])
    await store.append_logs(execution(1), [line("printed")])
    await store.close()
    return path


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_a_backup_is_a_store_like_any_other(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    verdict = back_up(path, target)
    assert (verdict.executions, verdict.blobs, verdict.damage) == (5, 1, ())
    assert names(target.parent) == ["copy.db", "copy.db.blobs"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    path.unlink()
    store = await SQLiteStore.open(target)
    assert len(await store.read(execution(3))) == 11
    (name,) = FileBlobs(blobs_folder(target)).names()
    assert FileBlobs(blobs_folder(target)).path_of(name).read_bytes() == b"large" * 1_000
    assert [each.text for each in await store.read_logs(execution(1))] == ["printed"]
    await Run(execution(70)).write(store)
    await store.close()


@pytest.mark.parametrize("there", ["copy.db", "copy.db.blobs"])
async def test_nothing_is_overwritten(path: Path, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("theirs")
    before = names(tmp_path)
    with pytest.raises(InvalidInput, match=f"{there} is there already"):
        back_up(path, tmp_path / "copy.db")
    assert (tmp_path / there).read_text() == "theirs"
    assert names(tmp_path) == before


async def test_a_damaged_store_gives_no_backup(path: Path, tmp_path: Path) -> None:
    tamper(path, "UPDATE events SET payload = x'00' WHERE execution = 2 AND seq = 3")
    before = names(tmp_path)
    with pytest.raises(DamagedCopy, match=f"Event 3 of {execution(1)}") as refusal:
        back_up(path, tmp_path / "copy.db")
    assert len(refusal.value.verdict.damage) == 1
    assert names(tmp_path) == before


async def test_a_damaged_blob_gives_no_backup(path: Path, tmp_path: Path) -> None:
    blobs = FileBlobs(blobs_folder(path))
    for name in blobs.names():
        blobs.path_of(name).write_bytes(b"other")
    with pytest.raises(BlobDamaged):
        back_up(path, tmp_path / "copy.db")
    assert not [name for name in names(tmp_path) if "copy" in name]


async def test_a_backup_that_does_not_fit_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="100k") as disk:
        with pytest.raises(StorageFull):
            back_up(path, disk / "copy.db")
        assert names(disk) == []


async def test_where_there_is_nothing_to_copy_or_nowhere_to_copy_to(
    path: Path, tmp_path: Path
) -> None:
    with pytest.raises(NoStore):
        back_up(tmp_path / "none.db", tmp_path / "copy.db")
    with pytest.raises(InvalidInput, match="There is no folder"):
        back_up(path, tmp_path / "none" / "copy.db")
    assert not (tmp_path / "copy.db").exists()


async def test_a_store_is_copied_while_it_is_written(path: Path, tmp_path: Path) -> None:
    store = await SQLiteStore.open(path)
    is_over = asyncio.Event()

    async def go_on(number: int) -> int:
        count = 0
        while not is_over.is_set():
            ref = await store.blobs.put(f"{number} {count}".encode() * 1_000)
            run = Run(execution(1_000 * number + count + 100), text=LOOP).turn(2)
            await run.end({"hash": ref.hash, "size": ref.size}).write(store)
            count += 1
        return count

    writers = [asyncio.create_task(go_on(number)) for number in range(1, 4)]
    copied = []
    for number in range(5):
        verdict = await asyncio.to_thread(back_up, path, tmp_path / f"{number}.db")
        copied.append(verdict.executions)
    is_over.set()
    written = sum(await asyncio.gather(*writers))
    await store.close()
    assert copied == sorted(copied)
    assert copied[0] >= 5
    assert 5 < copied[-1] <= written + 5
    for number in range(5):
        assert verify_store(tmp_path / f"{number}.db").damage == ()
