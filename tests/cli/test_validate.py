"""`dipeo-server validate`: problems with their places, without running anything."""

from __future__ import annotations

from pathlib import Path

from tests.cli.diagrams import HELLO, INVALID, written
from tests.cli.processes import dipeo

ROOT = Path(__file__).parents[2]


def test_a_valid_diagram_says_nothing_on_stdout(base_dir: Path) -> None:
    done = dipeo("validate", written(base_dir, HELLO))
    assert (done.code, done.out) == (0, "")
    assert "1 checked, 0 with errors" in done.err


def test_problems_have_a_line_each_with_file_line_and_column(base_dir: Path) -> None:
    bad, good = written(base_dir, INVALID, "bad.light.yaml"), written(base_dir, HELLO)
    done = dipeo("validate", bad, good, base_dir / "none.yaml")
    assert done.code == 2
    lines = done.out.splitlines()
    assert any(
        line.startswith(f"{bad}:4:") and " error UNKNOWN_NODE_TYPE " in line for line in lines
    )
    assert any("UNKNOWN_NODE" in line and "'wrok'" in line and "work" in line for line in lines)
    assert any(f"{base_dir / 'none.yaml'}:1:1: error FILE_NOT_FOUND" in line for line in lines)
    assert not any(line.startswith(str(good)) for line in lines)
    assert "3 checked, 2 with errors" in done.err


def test_json_tells_the_same_of_every_file(base_dir: Path) -> None:
    bad, good = written(base_dir, INVALID, "bad.light.yaml"), written(base_dir, HELLO)
    done = dipeo("validate", "--json", bad, good)
    assert done.code == 2
    assert done.document["isValid"] is False
    first, second = done.document["files"]
    assert (first["file"], first["isValid"]) == (str(bad), False)
    assert second == {"file": str(good), "isValid": True, "problems": []}
    problem = first["problems"][0]
    assert set(problem) == {
        "severity",
        "code",
        "message",
        "hint",
        "nodeKey",
        "edgeKey",
        "line",
        "column",
    }


def test_all_examples_are_valid() -> None:
    done = dipeo("validate", *sorted((ROOT / "examples").glob("*.yaml")))
    assert done.code == 0, done.out


def test_places_are_those_in_the_file_whatever_its_format(base_dir: Path) -> None:
    native = (
        '{"nodes": {"a": {"type": "start"}},\n "arrows": {"x": {"source": "a", "target": "z"}}}'
    )
    readable = "version: readable\nnodes: [{one: {type: start}}]\nflow:\n- one: tow\n"
    files = [
        written(base_dir, native, "it.native.json"),
        written(base_dir, readable, "it.readable.yaml"),
        written(base_dir, '{"nodes": {},\n "nodes": {}}', "other.txt"),
    ]
    done = dipeo("validate", "--json", *files)
    assert done.code == 2
    problems = [file["problems"][0] for file in done.document["files"]]
    assert [(each["code"], each["line"], each["column"]) for each in problems] == [
        ("UNKNOWN_NODE", 2, 34),
        ("UNKNOWN_NODE", 4, 3),
        ("JSON_DUPLICATE_KEY", 2, 2),
    ]
