"""A URL says which store, and what says nothing is refused with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipeo_server.errors import InvalidInput
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.opening import open_store
from dipeo_server.storage.sqlite import SQLiteStore


async def test_memory_keeps_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("memory:")
    assert isinstance(store, MemoryStore)
    await store.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url, file",
    [
        ("sqlite:store.db", "store.db"),
        ("sqlite:deep/store.db", "deep/store.db"),
        ("store.db", "store.db"),
        ("./a:b.db", "a:b.db"),
        ("memory", "memory"),
        ("sqlite:a:b.db", "a:b.db"),
    ],
)
async def test_a_path_is_a_sqlite_file(
    url: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store(url)
    assert isinstance(store, SQLiteStore)
    await store.close()
    assert (tmp_path / file).is_file()


async def test_an_absolute_path_is_a_sqlite_file(tmp_path: Path) -> None:
    for url in (f"{tmp_path}/a.db", f"sqlite:{tmp_path}/b.db"):
        await (await open_store(url)).close()
    assert {path.name for path in tmp_path.glob("*.db")} == {"a.db", "b.db"}


@pytest.mark.parametrize(
    "url, message",
    [
        ("postgres://host/db", "There is no kind of store 'postgres' (in 'postgres://host/db')."),
        ("sqlit:store.db", "There is no kind of store 'sqlit' (in 'sqlit:store.db')."),
        ("", "'' names no file."),
        ("sqlite:", "'sqlite:' names no file."),
        ("sqlite::memory:", "'sqlite::memory:' names no file."),
        ("memory:x", "memory: keeps no file, so 'x' in 'memory:x' means nothing."),
    ],
)
async def test_what_names_no_store_is_refused(
    url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput) as refusal:
        await open_store(url)
    assert refusal.value.message == message
    assert "memory:" in (refusal.value.hint or "")
    assert list(tmp_path.iterdir()) == []
