"""What the tests of the API share: a server that is running."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.serving import Live, serving


@pytest.fixture
async def live(base_dir: Path) -> AsyncIterator[Live]:
    """A server with an empty store in memory."""
    async with serving(base_dir) as server:
        yield server
