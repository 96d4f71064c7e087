"""`dipeo-server convert`: another format, to a pipe or a file; never less than was there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.diagrams import HELLO, INVALID, written
from tests.cli.processes import dipeo

LABELS = ["start", "greet", "end"]


def test_light_becomes_native_with_the_labels_as_keys(base_dir: Path) -> None:
    done = dipeo("convert", written(base_dir, HELLO), "--to", "native")
    assert (done.code, done.err) == (0, "")
    ids = ["node_0", "node_1", "node_2"]
    document = json.loads(done.out)
    assert list(document["nodes"]) == ids
    assert [node["data"]["label"] for node in document["nodes"].values()] == LABELS
    assert document["metadata"]["keys"] == dict(zip(ids, LABELS, strict=True))


def test_what_is_converted_there_and_back_is_the_same_file(base_dir: Path) -> None:
    light = written(base_dir, HELLO)
    first = dipeo("convert", light, "--to", "light").out
    for name in ("a.json", "b.readable.yml"):
        assert dipeo("convert", light, "--output", base_dir / name).code == 0
        assert dipeo("convert", base_dir / name, "--to", "LIGHT").out == first


def test_a_converted_diagram_runs_under_the_same_keys(base_dir: Path) -> None:
    light = written(base_dir, HELLO)
    for format_, end in (("native", "native.json"), ("readable", "readable.yaml")):
        file = base_dir / f"other.{end}"
        assert dipeo("convert", light, "--to", format_, "--output", file).code == 0
        done = dipeo("run", file, "--json", "--var", "name=Ann")
        assert done.document["status"] == "COMPLETED"
        assert [state["nodeKey"] for state in done.document["nodeStates"]] == LABELS
        assert done.state("greet")["output"]["body"] == "hello Ann"


def test_a_file_whose_name_says_nothing_is_read_as_told(base_dir: Path) -> None:
    native = dipeo("convert", written(base_dir, HELLO), "--to", "native").out
    file = written(base_dir, native, "drawn.txt")
    assert dipeo("convert", file, "--to", "light").out.startswith("version: light\n")
    wrong = dipeo("convert", file, "--from", "light", "--to", "light")
    assert wrong.code == 2  # JSON is YAML, but no light document.
    assert "drawn.txt:2:3: error INVALID_FIELD `nodes` must be a list." in wrong.err


def test_a_file_that_cannot_be_read_as_a_whole_is_not_converted(base_dir: Path) -> None:
    output = base_dir / "new.native.json"
    done = dipeo("convert", written(base_dir, INVALID), "--output", output)
    assert (done.code, done.out) == (2, "")
    assert "it.light.yaml:6:17: error UNKNOWN_NODE" in done.err
    assert "would be lost" in done.err
    assert not output.exists()


def test_what_is_wrong_with_the_diagram_itself_hinders_nothing(base_dir: Path) -> None:
    text = "nodes:\n- {label: lonely, type: cod_job, code: 1}\n"
    done = dipeo("convert", written(base_dir, text), "--to", "readable")
    assert (done.code, done.err) == (0, "")
    assert yaml.safe_load(done.out)["nodes"] == [{"lonely": {"type": "cod_job", "code": 1}}]


@pytest.mark.parametrize(
    "options, told",
    [
        ([], "--to"),
        (["--output", "it.txt"], "--to"),
        (["--to", "native", "--output", "it.light.yaml"], "would not be read as native"),
        (["--to", "lihgt"], "lihgt"),
        (["--to", "native", "--output", "none/it.json"], "Cannot write"),
    ],
)
def test_wrong_usage_says_what_to_do(base_dir: Path, options: list[str], told: str) -> None:
    done = dipeo("convert", written(base_dir, HELLO), *options)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_a_file_is_not_written_over_without_being_told(base_dir: Path) -> None:
    file = written(base_dir, f"# mine\n{HELLO}")
    (base_dir / "link.light.yaml").symlink_to(file)
    for output in (file, base_dir / "link.light.yaml"):
        done = dipeo("convert", file, "--output", output)
        assert (done.code, done.out) == (2, "")
        assert "--overwrite" in done.err
    assert file.read_text().startswith("# mine\n")
    file.chmod(0o640)
    link = base_dir / "link.light.yaml"
    assert dipeo("convert", file, "--output", link, "--overwrite").code == 0
    assert link.is_symlink()
    assert file.read_text().startswith("version: light\n")
    assert file.stat().st_mode & 0o777 == 0o640


def test_an_output_that_fails_leaves_what_was_there(base_dir: Path) -> None:
    folder = base_dir / "results"
    folder.mkdir()
    (folder / "it.native.json").mkdir()
    done = dipeo("convert", written(base_dir, HELLO), "--output", folder / "it.native.json")
    assert done.code == 2
    assert "Cannot write" in done.err
    assert [each.name for each in folder.iterdir()] == ["it.native.json"]


def test_a_missing_file_and_one_that_is_no_text_are_told(base_dir: Path) -> None:
    missing = dipeo("convert", base_dir / "none.light.yaml", "--to", "native")
    assert missing.code == 2
    assert "Cannot read" in missing.err
    (base_dir / "it.json").write_bytes(b"\xff\xfe{}")
    assert dipeo("convert", base_dir / "it.json", "--to", "light").code == 2


def test_what_could_not_be_read_again_is_not_written(base_dir: Path) -> None:
    nodes = [{"label": f"n{number}", "type": "db"} for number in range(4_000)]
    file = written(base_dir, json.dumps({"nodes": nodes}))
    done = dipeo("convert", file, "--to", "native")
    assert (done.code, done.out) == (2, "")
    assert "more than 1024 KiB cannot be read" in done.err
