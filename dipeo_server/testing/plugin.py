"""A pytest plugin: the fixture `dipeo`, a real server for one test.

It comes with `pip install 'dipeo-server[testing]'`. Async tests need pytest-asyncio or anyio; for
other tests there is `dipeo_url`, the address of a server in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from dipeo_server import testing  # Lazy: every run of pytest loads this file.

try:
    # Its own decorator works in each of its modes; without it anyio takes care of the fixture.
    async_fixture = import_module("pytest_asyncio").fixture
except ImportError:
    async_fixture = pytest.fixture


@async_fixture  # type: ignore[untyped-decorator] # it is one of two
async def dipeo(tmp_path: Path) -> AsyncIterator[testing.Server]:
    """A server with an empty store, and a client of it; files are below `dipeo.base_dir`."""
    async with testing.server(_folder(tmp_path)) as running:
        yield running


@pytest.fixture
def dipeo_url(tmp_path: Path) -> Iterator[str]:
    """The GraphQL endpoint of a server with an empty store, for tests without a loop."""
    with testing.server_in_thread(_folder(tmp_path)) as url:
        yield url


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dipeo"
    folder.mkdir()
    return folder
