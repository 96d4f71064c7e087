"""The page for authors of nodes is followed to the letter: its files, its commands, its output."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.processes import SECONDS_MAX, dipeo, environment

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-node.md"
FILE = re.compile(r"^<!-- file (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^<!-- here -->\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the files of the page, and what `pip install` would write beside them."""
    for name, text in FILE.findall(PAGE.read_text()):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    described = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    installed = tmp_path / "my_nodes-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Name: {described['name']}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {module}" for name, module in entries.items())
        for group, entries in described["entry-points"].items()
    ]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def test_the_page_does_what_it_shows(project: Path) -> None:
    (console,) = COMMANDS.findall(PAGE.read_text())
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for block in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, expected = block.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=project,
            env=environment(PATH=path, PYTHONPATH=str(project)),
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(expected, done.stdout, options), done.stdout


def test_the_node_checks_its_props_and_fails_by_its_own_code(project: Path) -> None:
    diagram = project / "count.light.yaml"
    written = diagram.read_text()
    env = {"PYTHONPATH": str(project)}
    diagram.write_text(written.replace("at_least: 2", "at_least: 9"))
    done = dipeo("run", diagram, "--json", "--base-dir", project, env=env)
    assert done.code == 1
    assert done.document["error"]["code"] == "TOO_SHORT"
    assert "3 words, 9 are needed" in done.document["error"]["message"]
    diagram.write_text(written.replace("at_least: 2", "at_least: -1"))
    refused = dipeo("validate", diagram, env=env)
    assert refused.code == 2
    assert "at_least" in refused.out


def test_the_page_is_checked_like_any_code(project: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            str(project / "cache"),
            "my_nodes",
        ],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout
