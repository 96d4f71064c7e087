"""MemoryStore keeps the promises of a store, but for durability."""

import pytest

from dipeo_server.storage.memory import MemoryStore
from tests.storage.conformance import StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
