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
