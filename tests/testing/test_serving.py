"""Servers for tests: of their own, side by side, kept if asked to, and for code without a loop."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from dipeo_server.errors import StoreLocked
from dipeo_server.testing import server, server_in_thread
from tests.testing.diagrams import GREETING


async def test_two_servers_know_nothing_of_each_other() -> None:
    async with server() as one, server() as other:
        await one.run(GREETING, {"name": "Ada"})
        count = "{ executions { totalCount } }"
        assert (await one.execute(count))["executions"]["totalCount"] == 1
        assert (await other.execute(count))["executions"]["totalCount"] == 0


async def test_a_store_that_is_named_is_kept(base_dir: Path, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    async with server(base_dir, store=store) as first:
        run = (await first.run(GREETING, {"name": "Ada"})).id
    async with server(base_dir, store=store) as second:
        assert (await second.execution(run)).output("greet") == "hello Ada"
        with pytest.raises(StoreLocked):
            async with server(base_dir, store=store):
                pass


async def test_a_folder_that_nobody_named_goes_with_the_server() -> None:
    async with server() as running:
        assert running.base_dir.is_dir()
    assert not running.base_dir.exists()


def test_code_without_a_loop_has_a_server_in_a_thread() -> None:
    with server_in_thread() as url:
        answer = httpx.post(url, json={"query": "{ serverInfo { version } }"})
        assert answer.status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.post(url, json={"query": "{ serverInfo { version } }"})


def test_what_keeps_a_server_from_starting_is_raised(base_dir: Path, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    with (
        server_in_thread(base_dir, store=store),
        pytest.raises(StoreLocked),
        server_in_thread(base_dir, store=store),
    ):
        pass
