"""Checkpoints in both stores; and what becomes of damaged ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.checkpoint_conformance import Checkpoints


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
