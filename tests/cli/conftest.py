"""One server for all tests of a process that need no server of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The GraphQL endpoint of a server that keeps its runs in memory."""
    folder: Path = tmp_path_factory.mktemp("served")
    with served("--store", "memory:", "--base-dir", folder) as url:
        yield url
