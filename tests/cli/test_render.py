"""`dipeo-server render`: text and images, to files and pipes, and what is told where none comes."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.diagrams import HELLO, INVALID, written
from tests.cli.processes import COMMAND, dipeo, environment
from tests.drawing import groups, needs_dot, objects

PNG_BEGINS = b"\x89PNG\r\n\x1a\n"


@needs_dot
def test_a_diagram_is_drawn_as_dot_where_nothing_else_is_wanted(tmp_path: Path) -> None:
    done = dipeo("render", written(tmp_path, HELLO))
    assert (done.code, done.err) == (0, "")
    nodes, edges = objects(done.out)
    assert [node["label"] for node in nodes] == ["start", "greet\\ncode_job", "end\\nendpoint"]
    assert [(edge["tail"], edge["head"]) for edge in edges] == [(0, 1), (1, 2)]


def test_mermaid_is_drawn_on_request(tmp_path: Path) -> None:
    done = dipeo("render", written(tmp_path, HELLO), "--to", "mermaid")
    assert (done.code, done.err) == (0, "")
    assert "flowchart TB\n" in done.out
    assert '  n1["greet<br/>code_job"]\n' in done.out


@needs_dot
@pytest.mark.parametrize(
    "name, begins",
    [
        ("it.svg", b"<svg "),
        ("it.PNG", PNG_BEGINS),
        ("it.gv", b"digraph"),
        ("it.mmd", b"---\n"),
    ],
)
def test_the_name_of_the_output_says_the_format(tmp_path: Path, name: str, begins: bytes) -> None:
    file = written(tmp_path, f"name: it\n{HELLO}")
    done = dipeo("render", file, "--output", tmp_path / name)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (tmp_path / name).read_bytes().startswith(begins)


@needs_dot
def test_an_svg_image_shows_the_nodes(tmp_path: Path) -> None:
    done = dipeo("render", written(tmp_path, HELLO), "--to", "svg")
    assert groups(done.out, "node")["n1"].lines == ("greet", "code_job")


def test_an_output_of_unknown_format_needs_a_format(tmp_path: Path) -> None:
    output = tmp_path / "it.jpg"
    done = dipeo("render", written(tmp_path, HELLO), "--output", output)
    assert (done.code, done.out) == (2, "")
    assert "--to" in done.err
    assert dipeo("render", tmp_path / "it.light.yaml", "--output", output, "--to", "dot").code == 0
    assert output.read_text().startswith("digraph")


def test_a_diagram_that_cannot_run_is_drawn_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    done = dipeo("render", written(tmp_path, INVALID), "--to", "mermaid")
    assert done.code == 0
    assert '"work<br/>cod_job"' in done.out
    assert "wrok" in done.err


def test_a_file_that_is_no_diagram_is_refused_with_its_problems(tmp_path: Path) -> None:
    done = dipeo("render", written(tmp_path, "nodes: [unclosed"))
    assert (done.code, done.out) == (2, "")
    assert "it.light.yaml:2:1: error YAML_SYNTAX" in done.err
    missing = dipeo("render", tmp_path / "none.light.yaml")
    assert missing.code == 2
    assert "Cannot read" in missing.err


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = dipeo("render", written(tmp_path, HELLO), "--output", tmp_path / "none" / "it.dot")
    assert done.code == 2
    assert "Cannot write" in done.err


def test_without_graphviz_text_is_drawn_and_an_image_says_what_to_install(tmp_path: Path) -> None:
    file = written(tmp_path, HELLO)
    nothing = {"PATH": str(tmp_path)}
    assert dipeo("render", file, env=nothing).code == 0
    done = dipeo("render", file, "--to", "svg", env=nothing)
    assert (done.code, done.out) == (1, "")
    assert "apt install graphviz" in done.err


def test_an_image_of_pixels_is_not_sent_to_a_terminal(tmp_path: Path) -> None:
    file = written(tmp_path, HELLO)
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "render", str(file), "--to", "png"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"--output" in done.stderr
