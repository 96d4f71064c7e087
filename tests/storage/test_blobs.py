"""Blobs are named by what they contain, durable before they are named, and checked when read."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.blobs import BlobRef, Blobs
from dipeo_server.errors import BlobDamaged, BlobMissing, StorageError, StorageFull
from dipeo_server.storage.blobs import FileBlobs, MemoryBlobs, blob_ref, blobs_folder
from tests.storage.disks import small_disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return blobs_folder(tmp_path / "store.db")


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, folder: Path) -> Blobs:
    return FileBlobs(folder) if request.param == "file" else MemoryBlobs()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# --- every kind ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 3_000_000, "Ü".encode()])
async def test_what_was_put_is_got(blobs: Blobs, data: bytes) -> None:
    ref = await blobs.put(data)
    assert ref == blob_ref(data)
    assert await blobs.get(ref) == data


async def test_the_same_bytes_are_kept_once(blobs: Blobs) -> None:
    refs = await asyncio.gather(*(blobs.put(b"same") for _ in range(20)))
    assert set(refs) == {blob_ref(b"same")}
    assert await blobs.get(refs[0]) == b"same"


async def test_what_is_not_there_is_refused(blobs: Blobs) -> None:
    ref = blob_ref(b"never put")
    with pytest.raises(BlobMissing, match=rf"The blob {ref.hash} \(9 bytes\) is not there\."):
        await blobs.get(ref)


@given(one=st.binary(max_size=4), other=st.binary(max_size=4))
def test_no_two_blobs_have_one_name(one: bytes, other: bytes) -> None:
    assert (blob_ref(one) == blob_ref(other)) == (one == other)


# --- files --------------------------------------------------------------------------------------


async def test_nobody_else_may_read_them(folder: Path) -> None:
    await FileBlobs(folder).put(b"secret")
    (file,) = files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for parent in (file.parent, folder):
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700


async def test_nothing_but_whole_blobs_has_a_name(folder: Path) -> None:
    blobs = FileBlobs(folder)
    refs = [await blobs.put(os.urandom(100)) for _ in range(50)]
    assert sorted(blobs.names()) == sorted(ref.hash for ref in refs)
    assert len(files(folder)) == 50
    assert list(blobs.partials()) == []


async def test_they_are_there_for_the_next_process(folder: Path) -> None:
    ref = await FileBlobs(folder).put(b"kept")
    assert await FileBlobs(folder).get(ref) == b"kept"


@pytest.mark.parametrize("data", [b"", b"kepd", b"kept and more"])
async def test_a_changed_blob_is_refused_and_can_be_put_anew(folder: Path, data: bytes) -> None:
    blobs = FileBlobs(folder)
    ref = await blobs.put(b"kept")
    blobs.path_of(ref.hash).write_bytes(data)
    with pytest.raises(BlobDamaged, match=f"The blob {ref.hash} is not what was written"):
        await blobs.get(ref)
    if len(data) != ref.size:
        await blobs.put(b"kept")
        assert await blobs.get(ref) == b"kept"


async def test_a_reference_with_another_size_is_refused(folder: Path) -> None:
    blobs = FileBlobs(folder)
    ref = await blobs.put(b"kept")
    with pytest.raises(BlobDamaged):
        await blobs.get(replace(ref, size=3))


@pytest.mark.parametrize("name", ["", "..", "../" * 21 + "x", "A" * 64, "a" * 63, "/etc/passwd"])
async def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(BlobMissing, match="names no blob"):
        await FileBlobs(folder).get(BlobRef(name, 1))


async def test_putting_again_makes_it_young(folder: Path) -> None:
    blobs = FileBlobs(folder)
    path = blobs.path_of((await blobs.put(b"old")).hash)
    os.utime(path, (1, 1))
    await blobs.put(b"old")
    assert path.stat().st_mtime > 1


async def test_bytes_are_on_disk_before_they_have_a_name(folder: Path, tmp_path: Path) -> None:
    """As the kernel sees it: the file is synced, then renamed, then its folder is synced."""
    program = (
        "import asyncio, sys; from pathlib import Path;"
        "from dipeo_server.storage.blobs import FileBlobs;"
        "asyncio.run(FileBlobs(Path(sys.argv[1])).put(b'data'))"
    )
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,rename", "-o", str(trace)]
    try:
        subprocess.run([*command, sys.executable, "-c", program, str(folder)], check=True)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    steps = [call for call in calls if str(folder) in call]
    assert "partial-" in steps[-3]
    assert steps[-2].startswith("rename(")
    assert steps[-1].startswith("fsync(")


async def test_a_folder_that_cannot_be_made_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be read or written: Not a directory"):
        await FileBlobs(tmp_path / "file" / "blobs").put(b"x")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", size="1m") as folder:
        yield folder


async def test_a_full_disk_is_told_and_leaves_nothing_half_written(disk: Path) -> None:
    blobs = FileBlobs(disk / "blobs")
    kept = await blobs.put(b"x" * 100_000)
    for _ in range(3):
        with pytest.raises(StorageFull):
            await blobs.put(b"y" * 2_000_000)
    assert list(blobs.names()) == [kept.hash]
    assert list(blobs.partials()) == []
    assert await blobs.get(await blobs.put(b"small")) == b"small"
