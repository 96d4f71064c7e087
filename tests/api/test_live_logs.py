"""Lines of processes, told live over a socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import Live, Socket, light
from tests.api.steering import ended

LOGS = """subscription ($id: ID!, $node: String, $after: String) {
  executionLogs(executionId: $id, nodeKey: $node, after: $after) {
    cursor nodeKey occurrence attempt stream level text timestamp } }"""
COUNTING = """import pathlib, sys, time
for number in range(100):
    print(number)
print("half way", file=sys.stderr, flush=True)
sys.stdout.flush()
while not pathlib.Path("go").exists():
    time.sleep(0.01)
for number in range(100, 200):
    print(number)
result = "counted"
"""


def printing(base_dir: Path) -> str:
    """A diagram with two nodes that print; the first one waits for a file in the middle."""
    (base_dir / "count.py").write_text(COUNTING)
    return light(
        "begin -> count -> say",
        begin="start",
        count="code_job, props: {language: python, file_path: count.py}",
        say="code_job, props: {language: bash, code: 'echo done'}",
    )


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    return [int(line["text"]) for line in lines if line["text"].isdigit()]


async def until(socket: Socket, id_: str, text: str) -> list[dict[str, Any]]:
    """The lines up to the one with that text."""
    found = [await socket.next(id_)]
    while found[-1]["text"] != text:
        found.append(await socket.next(id_))
    return found


async def test_lines_come_as_they_are_printed(live: Live, base_dir: Path) -> None:
    run = await live.started(printing(base_dir))
    async with live.socket() as socket:
        id_ = await socket.subscribe(LOGS, id=run, node="count")
        before = await until(socket, id_, "99")
        (base_dir / "go").touch()
        after = await until(socket, id_, "199")
        message = await socket.receive()
        while message["type"] == "next":
            after.append(message["payload"]["data"]["executionLogs"])
            message = await socket.receive()
        assert message == {"id": id_, "type": "complete"}
    assert numbers(before + after) == list(range(200))
    assert {line["nodeKey"] for line in before + after} == {"count"}
    [aside] = [line for line in before + after if line["stream"] == "stderr"]
    assert (aside["text"], aside["occurrence"], aside["attempt"]) == ("half way", 1, 1)


async def test_a_reader_goes_on_behind_a_cursor(live: Live, base_dir: Path) -> None:
    (base_dir / "go").touch()
    run = await live.started(printing(base_dir))
    assert await ended(live, run) == "COMPLETED"
    async with live.socket() as socket:
        lines = await socket.items(LOGS, id=run)
        assert numbers(lines) == list(range(200))
        assert lines[-1]["nodeKey"] == "say"
        place = lines[120]["cursor"]
        assert await socket.items(LOGS, id=run, after=place) == lines[121:]
        assert await socket.items(LOGS, id=run, after=lines[-1]["cursor"]) == []


@pytest.mark.parametrize(
    "wrong, code",
    [
        ({"id": "exec_0_nope"}, "NOT_FOUND"),
        ({"node": "cuont"}, "INVALID"),
        ({"after": "behind"}, "INVALID"),
    ],
)
async def test_what_cannot_be_followed_is_an_error(
    live: Live, base_dir: Path, wrong: dict[str, str], code: str
) -> None:
    (base_dir / "go").touch()
    run = await live.started(printing(base_dir))
    async with live.socket() as socket:
        id_ = await socket.subscribe(LOGS, **{"id": run, **wrong})
        message = await socket.receive()
    assert (message["type"], message["id"]) == ("error", id_)
    assert message["payload"][0]["extensions"]["code"] == code
    assert await ended(live, run) == "COMPLETED"
