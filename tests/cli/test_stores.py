"""Where runs are kept: temporary unless somebody still waits, one process for each store."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import httpx

from tests.cli.diagrams import APPROVAL, HELLO, written
from tests.cli.processes import dipeo, served


def test_a_run_that_has_ended_leaves_nothing_behind(base_dir: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    file = written(base_dir, HELLO)
    done = dipeo("run", file, "-q", "--base-dir", base_dir, env={"TMPDIR": str(temporary)})
    assert done.code == 0
    assert list(temporary.iterdir()) == []
    assert list(base_dir.iterdir()) == [file]


def test_a_run_that_waits_goes_on_as_the_directions_say(base_dir: Path, tmp_path: Path) -> None:
    file = written(base_dir, APPROVAL)
    env = {"TMPDIR": str(tmp_path)}
    left = dipeo("run", file, "--json", "--base-dir", base_dir, env=env)
    assert left.code == 4
    serving = command_in(left.err, "dipeo-server serve")
    approving = command_in(left.err, "dipeo-server approve")
    with served(*shlex.split(serving)[2:]) as url:
        # It names no server, because `serve` is where commands look by themselves.
        done = dipeo(*shlex.split(approving)[1:], "--json", env={"DIPEO_URL": url})
    assert done.code == 0, done.err
    assert done.document["barrier"]["status"] == "APPROVED"
    assert done.document["execution"]["id"] == left.document["id"]


def command_in(text: str, begin: str) -> str:
    """The command on the line that shows it."""
    (found,) = re.findall(rf"{re.escape(begin)}.*", text)
    assert isinstance(found, str)
    return found


def test_a_store_that_is_named_is_kept(base_dir: Path) -> None:
    file = written(base_dir, HELLO)
    store = base_dir / "deep" / "runs.db"
    done = dipeo("run", file, "--json", "--base-dir", base_dir, "--store", store)
    assert done.code == 0
    with served("--store", store, "--base-dir", base_dir) as url:
        body = {"query": "{ executions { nodes { id status } } }"}
        answer = httpx.post(url, json=body, trust_env=False).json()
    kept = answer["data"]["executions"]["nodes"]
    assert kept == [{"id": done.document["id"], "status": "COMPLETED"}]


def test_a_store_that_is_open_elsewhere_is_exit_code_75(base_dir: Path) -> None:
    store = base_dir / "runs.db"
    with served("--store", store, "--base-dir", base_dir):
        serving = dipeo("serve", "--port", "0", "--store", f"sqlite:{store}")
        running = dipeo("run", written(base_dir, HELLO), "--json", "--store", store)
    assert (serving.code, serving.out) == (75, "")
    assert "is open in process" in serving.err
    assert running.code == 75
    assert "is open in process" in running.document["error"]["message"]


def test_a_kind_of_store_that_does_not_exist_is_wrong_usage(base_dir: Path) -> None:
    done = dipeo("serve", "--port", "0", "--store", "oracle:x", "--base-dir", base_dir)
    assert done.code == 2
    assert "oracle" in done.err
