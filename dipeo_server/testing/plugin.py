"""A pytest plugin: the fixture `dipeo`, a real server for one test.

It comes with `pip install 'dipeo-server[testing]'`. Async tests need pytest-asyncio or anyio; for
other tests there is `dipeo_url`, the address of a server in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dipeo_server.testing.serving import Server

try:
    # Its own decorator works in each of its modes; without it anyio takes care of the fixture.
    async_fixture = import_module("pytest_asyncio").fixture
except ImportError:
    async_fixture = pytest.fixture


@async_fixture  # type: ignore[untyped-decorator] # it is one of two
async def dipeo(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with an empty store, and a client of it; files are below `dipeo.base_dir`."""
    from dipeo_server.testing.serving import server  # noqa: PLC0415 - every pytest run loads this.

    async with server(_folder(tmp_path)) as running:
        yield running


@pytest.fixture
def dipeo_url(tmp_path: Path) -> Iterator[str]:
    """The GraphQL endpoint of a server with an empty store, for tests without a loop."""
    from dipeo_server.testing.serving import server_in_thread  # noqa: PLC0415 - (as above)

    with server_in_thread(_folder(tmp_path)) as url:
        yield url


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dipeo"
    folder.mkdir()
    return folder
