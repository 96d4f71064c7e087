"""Which store a URL names."""

from __future__ import annotations

from pathlib import Path

from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import InvalidInput
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore


async def open_store(url: str) -> StateStore:
    """`sqlite:PATH`, a bare path (= sqlite) or `memory:`. Raises InvalidInput, StoreLocked."""
    scheme, colon, rest = url.partition(":")
    if url in {"memory:", "memory"}:
        return MemoryStore()
    if scheme == "sqlite" and colon:
        return await SQLiteStore.open(_path(rest, url))
    if colon and "/" not in scheme and len(scheme) > 1:
        message = f"There is no kind of store {scheme!r} (in {url!r})."
        raise InvalidInput(message, hint="Use sqlite:PATH, a bare path, or memory:.")
    return await SQLiteStore.open(_path(url, url))


def _path(text: str, url: str) -> Path:
    if not text:
        raise InvalidInput(f"{url!r} names no file.", hint="Write sqlite:PATH.")
    return Path(text)
