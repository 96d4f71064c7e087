"""GraphiQL in a real browser: everything works, and nothing is asked of anybody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dipeo_server.api.web import BUILT, CONTENT_SECURITY_POLICY
from tests.cli.processes import Running, started

FRONTEND = Path(__file__).parents[2] / "frontend-stub"
SECONDS_MAX = 150


def program(*names: str) -> str:
    """The first of these programs that is installed."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or missing(f"{names[0]} is not installed")


def missing(what: str) -> NoReturn:
    """Something that the test needs: a gate without it would be none."""
    if os.environ.get("CI"):
        pytest.fail(f"needs a browser and the built pages: {what}")
    pytest.skip(f"needs a browser and the built pages: {what}")


def browser_command() -> list[str]:
    """What uses the page; the address of the server is to be added."""
    chromium = program("chromium", "chromium-browser", "google-chrome")
    node = program("node")
    if not (FRONTEND / "node_modules" / "playwright-core").is_dir():
        missing("frontend-stub/node_modules is not installed; make frontend does that")
    if not (BUILT / "graphiql.html").is_file():
        missing("the pages are not built; make frontend does that")
    return [node, str(FRONTEND / "browser" / "graphiql.mjs"), chromium]


def address_of(server: Running) -> str:
    """Where a person is told to go who has just started a server."""
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if "/graphiql#token=" in line:
            return line.strip()
    raise AssertionError("the server has not said where GraphiQL is")


@pytest.mark.timeout(SECONDS_MAX + 30)
def test_graphiql_works_without_the_internet(base_dir: Path) -> None:
    command = browser_command()
    options = ("--auth", "token", "--port", "0", "--store", "memory:", "--base-dir", base_dir)
    with started("serve", *options) as server:
        address = address_of(server)
        assert server.line().startswith("ready ")
        done = subprocess.run(
            [*command, address], capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert (seen["status"], seen["policy"]) == (200, CONTENT_SECURITY_POLICY)
    assert seen["elsewhere"] == []
    assert seen["errorsWithToken"] == []
    assert seen["workers"] == ["editor.worker", "graphql.worker", "json.worker"]
    assert seen["introspected"] == ["__schema"]
    assert seen["tabs"][:2] == ["RunExample", "FollowRun"]
    assert seen["run"].startswith("exec_")
    assert list(seen["query"]["serverInfo"]) == ["version"]
    assert seen["address"] == address.partition("#")[0]
    assert (seen["cookies"], seen["isKept"]) == ([], {"session": True, "local": False})
    assert (seen["statusWithoutToken"], seen["statusWithToken"]) == (401, 200)


def test_the_pages_are_part_of_the_wheel(tmp_path: Path) -> None:
    if not (BUILT / "graphiql.html").is_file():
        missing("the pages are not built; make frontend does that")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=FRONTEND.parent, check=True, capture_output=True, timeout=60)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    for path in filter(Path.is_file, BUILT.rglob("*")):
        assert path.relative_to(FRONTEND.parent).as_posix() in names
