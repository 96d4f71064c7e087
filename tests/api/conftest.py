"""What the tests of the API share: a server that is running."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.api.serving import Live, serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    """One server for all tests of a file; they run on its loop and leave nothing behind."""
    async with serving(tmp_path_factory.mktemp("base")) as server:
        yield server


@pytest.fixture
async def live(base_dir: Path) -> AsyncIterator[Live]:
    """A server with an empty store in memory."""
    async with serving(base_dir) as server:
        yield server
