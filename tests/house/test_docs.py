"""What the documentation shows is run: a block after `<!-- run -->` must do what it says.

In a `console` block every line after `$ ` is a command for bash, run from the top folder; the lines
below it are its output, where `...` stands for anything; none means that any output will do. A
`python` block is a program. `<!-- run exit=2 -->` tells the exit code that the last command has.
`<!-- run at server -->` runs it while a server serves what the block calls http://127.0.0.1:8000.
"""

import doctest
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.cli.processes import served

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 50
SHOWN_SERVER = "http://127.0.0.1:8000"
BLOCK = re.compile(
    r"^<!-- run(?: exit=(?P<code>\d+))?(?P<server> at server)? -->\n+"
    r"```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One marked block: where it stands, what it is written in, and how it should end."""

    place: str
    language: str
    text: str
    code: int = 0
    needs_server: bool = False


def blocks(place: str, document: str) -> list[Block]:
    """The marked blocks of a document; a mark without a block below it is an error."""
    found = [
        Block(
            place=f"{place}:{document.count(chr(10), 0, match.start()) + 1}",
            language=match["language"],
            text=match["text"],
            code=int(match["code"] or 0),
            needs_server=bool(match["server"]),
        )
        for match in BLOCK.finditer(document)
    ]
    marks = len(re.findall(r"^<!-- run", document, flags=re.MULTILINE))
    assert len(found) == marks, f"{place}: {marks} marks, but {len(found)} blocks can be read"
    return found


def documented() -> list[Block]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        block
        for page in pages
        for block in blocks(page.relative_to(ROOT).as_posix(), page.read_text())
    ]


def run(block: Block) -> None:
    """Do what the block says; an AssertionError tells what came out otherwise."""
    if not block.needs_server:
        perform(block)
        return
    with tempfile.TemporaryDirectory() as folder, served("--base-dir", folder) as endpoint:
        text = block.text.replace(SHOWN_SERVER, endpoint.removesuffix("/graphql"))
        perform(replace(block, text=text))


def perform(block: Block) -> None:
    """Run the commands or the program of a block."""
    match block.language:
        case "python":
            finish(block, [sys.executable, "-c", block.text], expected="", code=block.code)
        case "console":
            commands = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
            assert commands, f"{block.place}: no line starts with '$ '"
            for index, command in enumerate(commands, start=1):
                line, _, expected = command.partition("\n")
                last = index == len(commands)
                finish(block, ["bash", "-c", line], expected, code=block.code if last else 0)
        case language:
            pytest.fail(f"{block.place}: blocks of {language or 'no language'} cannot be run")


def run_all(document: str) -> list[Block]:
    found = blocks("x.md", document)
    for block in found:
        run(block)
    return found


def finish(block: Block, command: list[str], expected: str, code: int) -> None:
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**outer, "PATH": search, "NO_COLOR": "1", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    told = f"{block.place}: {command[-1]}\n{done.stdout}{done.stderr}"
    assert done.returncode == code, f"exit {done.returncode}, not {code}\n{told}"
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if expected.strip():
        as_shown = doctest.OutputChecker().check_output(expected, done.stdout, options)
        assert as_shown, f"{told}\nis not what is shown:\n{expected}"


@pytest.mark.parametrize("block", documented(), ids=lambda block: block.place)
def test_a_documented_block_does_what_it_says(block: Block) -> None:
    run(block)


def test_the_readme_shows_something_that_is_run() -> None:
    assert [block for block in documented() if block.place.startswith("README.md:")]


@pytest.mark.parametrize(
    "document",
    [
        "<!-- run -->\n```console\n$ echo one\ntwo\n```\n",
        "<!-- run -->\n```console\n$ false\n$ true\n```\n",
        "<!-- run exit=3 -->\n```console\n$ exit 4\n```\n",
        "<!-- run -->\n```python\nassert 1 == 2\n```\n",
        "<!-- run -->\n```console\necho without a prompt\n```\n",
        "<!-- run -->\nno block at all\n",
        "<!-- run -->\n```yaml\na: b\n```\n",
        "<!-- run at server -->\n```console\n$ curl -sf http://127.0.0.1:8000/none\n```\n",
    ],
)
def test_a_wrong_document_is_noticed(document: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_all(document)


def test_a_right_document_passes() -> None:
    document = (
        "```console\n$ this-is-not-marked\n```\n"
        "<!-- run exit=3 -->\n\n```console\n$ echo one; echo two\none\n...\n$ exit 3\n```\n"
        "<!-- run -->\n```python\nimport dipeo_server\n```\n"
    )
    assert [block.place for block in run_all(document)] == ["x.md:4", "x.md:12"]
