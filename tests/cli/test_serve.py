"""`dipeo-server serve`: one line when ready, logs elsewhere, a clean end."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

import dipeo_server
from tests.cli.processes import dipeo, served, started

STOP_SECONDS_MAX = 10


def test_the_one_line_on_stdout_says_where(base_dir: Path) -> None:
    with started("serve", "--port", "0", "--base-dir", base_dir) as server:
        line = server.line()
        url = line.removeprefix("ready ")
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/graphql")
        answer = httpx.get(url.replace("/graphql", "/healthz"), trust_env=False)
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "version": dipeo_server.__version__}
        server.interrupt(signal.SIGTERM)
        done = server.ended()
    assert done.out == ""
    assert (base_dir / ".dipeo" / "dipeo.db").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_in_time(base_dir: Path, number: signal.Signals) -> None:
    with started("serve", "--port", "0", "--store", "memory:", "--base-dir", base_dir) as server:
        assert server.line().startswith("ready ")
        server.interrupt(number)
        told_at = time.monotonic()
        done = server.ended()
    assert done.code == 0
    assert time.monotonic() - told_at < STOP_SECONDS_MAX


def test_a_port_that_is_taken_is_exit_code_75(base_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = dipeo("serve", "--port", str(port), "--store", "memory:", "--base-dir", base_dir)
    assert (done.code, done.out) == (75, "")
    assert f"Cannot listen on 127.0.0.1 port {port}" in done.err


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_an_address_that_others_reach_is_exit_code_78(base_dir: Path, host: str) -> None:
    options = ("--auth", "none", "--port", "0", "--base-dir", base_dir)
    done = dipeo("serve", "--host", host, *options)
    assert (done.code, done.out) == (78, "")
    assert f"Refusing to listen on {host}" in done.err
    assert list(base_dir.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--auth", "maybe"], ["--port", "99999"], ["--base-dir", "/nonexistent"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    done = dipeo("serve", *arguments)
    assert (done.code, done.out) == (2, "")


def test_the_environment_sets_what_options_do_not(base_dir: Path) -> None:
    env = {"DIPEO_BASE_DIR": str(base_dir), "DIPEO_STORE": "memory:", "DIPEO_PORT": "1"}
    with served(env=env) as url:
        assert not url.endswith(":1/graphql")
        answer = httpx.post(url, json={"query": "{ serverInfo { store } }"}, trust_env=False)
    assert answer.json()["data"]["serverInfo"]["store"] == "memory"
    done = dipeo("serve", env={"DIPEO_PORT": "many"})
    assert done.code == 2
    assert "DIPEO_PORT" in done.err
