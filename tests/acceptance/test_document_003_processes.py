"""Source document 003 where it is about processes: output, terminals, secrets, and their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import LogRecord
from dipeo_server.runtime.local import LocalRunner
from tests.api.serving import EVENTS, Live, light, serving
from tests.runtime.code_world import children, is_running, until

LINES = 10_000
ABORT = """
mutation ($id: ID!) { abortExecution(id: $id) { execution { status } errors { message } } }
"""
PAUSE = """
mutation ($id: ID!) { pauseExecution(id: $id, mode: NOW) { errors { message } } }
"""
OUTPUT = """
query ($id: ID!) {
  execution(id: $id) {
    status variables error { code message hint }
    nodeState(nodeKey: "work") { status error { code message hint } output { body } }
    logs(first: 1000) { nodes { stream text nodeKey } }
  }
}
"""
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100)"
near = subprocess.Popen([sys.executable, "-c", sleep])
far = subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
daemon = "import os; os.setsid(); pid = os.fork(); pid and (print(pid, flush=True), os._exit(0));"
daemon += "os.close(1)\\n"
lost = subprocess.run([sys.executable, "-c", daemon + sleep], stdout=subprocess.PIPE)
print("pids", os.getpid(), near.pid, far.pid, lost.stdout.decode().strip())
time.sleep(100)
"""


@pytest.fixture
async def live(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    monkeypatch.setenv("DIPEO_SECRET_SUDO_PASSWORD", "open-sesame")
    async with serving(base_dir, store=f"sqlite:{base_dir.parent / 'runs.db'}") as server:
        yield server


def work(type_: str, **fields: Any) -> str:
    """A diagram with one node that does something."""
    return light(
        "begin -> work -> end",
        begin="start",
        work=f"{type_}, {json.dumps(fields)[1:-1]}",
        end="endpoint",
    )


def following(live: Live, id_: str, *, after: int = 0) -> AsyncGenerator[LogRecord, None]:
    runner = live.services.runner
    assert isinstance(runner, LocalRunner)
    return runner.follow_logs(ExecutionID(id_), after=after)


async def lines_of(live: Live, id_: str) -> list[LogRecord]:
    """Every line of a run, followed to its end."""
    async with aclosing(following(live, id_)) as lines:
        return [line async for line in lines]


async def first_line(live: Live, id_: str) -> str:
    """The first line, as soon as it is printed."""
    async with aclosing(following(live, id_)) as lines:
        async for line in lines:
            return line.text
    raise AssertionError("nothing was printed")


async def state(live: Live, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = (await live.data(OUTPUT, id=id_))["execution"]
    return found


@pytest.mark.parametrize("tty", [False, True])
async def test_output_arrives_line_by_line_in_order_tagged_with_node_and_stream(
    tty: bool, live: Live
) -> None:
    """003-04."""
    code = f"""
import sys
for number in range({LINES}):
    print("line", number, file=sys.stderr if number % 2 else sys.stdout)
"""
    id_ = await live.started(work("code_job", code=code, tty=tty))
    reading = asyncio.create_task(lines_of(live, id_))
    assert (await first_line(live, id_)).startswith("line ")
    lines = await reading
    assert {line.node_run.node for line in lines} == {"work"}
    if tty:
        assert [line.text for line in lines] == [f"line {n}" for n in range(LINES)]
        assert {line.stream for line in lines} == {"stdout"}
    else:
        for rest, stream in enumerate(("stdout", "stderr")):
            own = [line.text for line in lines if line.stream == stream]
            assert own == [f"line {n}" for n in range(rest, LINES, 2)]
    cursors = [line.cursor for line in lines]
    assert cursors == sorted(set(cursors))


async def test_global_context_is_seen_by_nodes_and_by_nobody_else(live: Live) -> None:
    """003-08, 003-W7: a password by reference."""
    code = "print(password); result = [len(password), globals['password'] == password]"
    variables = {"password": "secret://sudo_password", "plain": "text"}
    id_ = await live.ended(work("code_job", code=code), variables=variables)
    found = await state(live, id_)
    assert found["nodeState"]["output"]["body"] == [11, True]
    assert found["variables"]["password"] == "secret://sudo_password"
    [line] = found["logs"]["nodes"]
    assert (
        line
        == {
            "stream": "stdout",
            "text": "[secret SUDO_PASSWORD]",
            "nodeKey": "work",
        }
        or line["text"] == "[secret sudo_password]"
    )


async def test_an_unknown_secret_fails_the_node_that_needs_it(live: Live) -> None:
    """003-W7: told by name, with the way to set it."""
    fields = {"command": "true", "config": {"env": {"A": "secret://nobody"}}}
    id_ = await live.ended(work("hook", **fields))
    failure = (await state(live, id_))["nodeState"]["error"]
    assert failure["code"] == "SECRET_MISSING"
    assert "secret://nobody" in failure["message"]
    assert "DIPEO_SECRET_NOBODY" in failure["hint"]


async def test_what_a_model_or_a_node_says_is_no_reference(live: Live) -> None:
    """003-W7: a reference counts where the run was started with it, and is data elsewhere."""
    content = light(
        "begin -> says -> work -> end",
        begin="start",
        says="code_job, code: \"result = 'secret://sudo_password'\"",
        work='code_job, code: "result = [default, inputs]"',
        end="endpoint",
    )
    id_ = await live.ended(content)
    found = await state(live, id_)
    assert found["nodeState"]["output"]["body"][0] == "secret://sudo_password"


@pytest.mark.parametrize("tty", [False, True])
async def test_an_aborted_run_leaves_no_process_behind(tty: bool, live: Live) -> None:
    """003-W6, G10: neither what ignores SIGTERM, nor what left its session, nor orphans."""
    others = children()
    id_ = await live.started(work("code_job", code=STUBBORN, tty=tty, timeout=60))
    pids = [int(pid) for pid in (await first_line(live, id_)).split()[1:]]
    assert len(pids) == 4
    assert all(is_running(pid) for pid in pids)
    await live.data(ABORT, id=id_)
    events = await live.follow(id_)
    assert events[-1]["__typename"] == "ExecutionAborted"
    assert not any(is_running(pid) for pid in pids)
    assert children() == others


async def test_a_pause_now_leaves_no_process_behind(live: Live) -> None:
    """003-W6: and the node runs again when the run goes on."""
    id_ = await live.started(work("code_job", code=STUBBORN, timeout=60))
    pids = [int(pid) for pid in (await first_line(live, id_)).split()[1:]]
    async with live.socket() as client:
        subscribed = await client.subscribe(EVENTS, id=id_)
        await live.data(PAUSE, id=id_)
        while (await client.next(subscribed))["__typename"] != "NodeInterrupted":
            pass
    await until(lambda: not any(is_running(pid) for pid in pids))
    await live.data(ABORT, id=id_)
    await live.follow(id_)


async def test_a_node_that_times_out_leaves_no_process_behind(live: Live) -> None:
    """003-W6."""
    id_ = await live.started(work("code_job", code=STUBBORN, timeout=3))
    pids = [int(pid) for pid in (await first_line(live, id_)).split()[1:]]
    await live.follow(id_)
    assert (await state(live, id_))["nodeState"]["error"]["code"] == "TIMEOUT"
    assert not any(is_running(pid) for pid in pids)


async def test_a_flood_ends_with_a_marker_and_the_last_line_needs_no_end(live: Live) -> None:
    """003-W6: amount bounded and said; partial last lines are flushed."""
    script = "yes | head -n 120000; printf 'no end' >&2; true"
    id_ = await live.ended(work("code_job", language="bash", code=script))
    lines = await lines_of(live, id_)
    assert len(lines) <= 100_002
    assert any("output truncated" in line.text for line in lines)
    id_ = await live.ended(work("code_job", language="bash", code="printf 'no end'"))
    assert [line.text for line in await lines_of(live, id_)] == ["no end"]


async def test_a_socket_that_hangs_up_changes_nothing_of_the_run(live: Live) -> None:
    """003-W8: lines go to the store; a reader who has gone can come again."""
    code = "import time\nfor n in range(50):\n    print(n)\n    time.sleep(0.01)\nresult = 'done'"
    id_ = await live.started(work("code_job", code=code))
    async with aclosing(following(live, id_)) as leaving:
        known = [await anext(leaving) for _ in range(3)]
    await live.follow(id_)
    later = following(live, id_, after=known[-1].cursor)
    rest = [line async for line in later]
    assert [line.text for line in [*known, *rest]] == [str(n) for n in range(50)]
    assert (await state(live, id_))["nodeState"]["output"]["body"] == "done"
