"""One server for all tests that need none of their own; commands without a process of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dipeo_server.cli.commands import app
from tests.cli.controlling import CLI, Control
from tests.cli.processes import Done, served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The GraphQL endpoint of a server that keeps its runs in memory."""
    folder: Path = tmp_path_factory.mktemp("served")
    with served("--store", "memory:", "--base-dir", folder) as url:
        yield url


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes]) -> CLI:
    """Run `dipeo-server` in this process, which is quicker; its streams are those of a process."""

    def run(*arguments: str | Path) -> Done:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(each) for each in arguments])
        out, err = capfdbinary.readouterr()
        assert ended.value.code is None or isinstance(ended.value.code, int)
        return Done(ended.value.code or 0, out.decode(), err.decode())

    return run


@pytest.fixture
def control(cli: CLI, server: str, base_dir: Path) -> Control:
    """Commands at the server."""
    return Control(cli, server, base_dir)
