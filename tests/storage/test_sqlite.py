"""SQLiteStore keeps the promises of a store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.conformance import StoreConformance


class TestSQLiteStore(StoreConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
        store = await SQLiteStore.open(tmp_path / "store.db")
        yield store
        await store.close()
