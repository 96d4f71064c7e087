"""Programs that want a terminal get one; what they print comes as from any other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ports import CodeRunner, CommandRequest, ProcessOptions
from dipeo_server.domains.execution.secret_references import SecretText
from dipeo_server.errors import CodeError, NodeTimeout
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from tests.runtime.code_world import Lines, children, descriptors, is_running, request

ON_TERMINAL = {"tty": True}


@pytest.fixture
def runner(base_dir: Path) -> CodeRunner:
    return ProcessCodeRunner(base_dir, BaseDirFiles(base_dir))


@pytest.fixture
def lines() -> Lines:
    return Lines()


async def test_code_runs_on_a_terminal_of_its_own(runner: CodeRunner, lines: Lines) -> None:
    """003-04: each node runs on its own PTY, if it says so."""
    code = """
        import os, sys
        own = os.open("/dev/tty", os.O_RDWR)
        size = os.get_terminal_size(0)
        streams = [sys.stdin, sys.stdout, sys.stderr]
        result = [each.isatty() for each in streams] + [size.columns, os.environ["TERM"]]
    """
    assert await runner.run(request(code, options=ON_TERMINAL), lines) == [
        *([True] * 3),
        *(120, "xterm-256color"),
    ]
    assert await runner.run(request("import sys\nresult = sys.stdout.isatty()"), lines) is False


async def test_both_streams_are_one_and_in_order(runner: CodeRunner, lines: Lines) -> None:
    """003-W6: a terminal merges them; pipes keep them apart."""
    code = """
        import sys
        for number in range(300):
            print("out", number)
            print("err", number, file=sys.stderr)
        print("no end", end="")
    """
    await runner.run(request(code, options=ON_TERMINAL), lines)
    expected = [f"{word} {number}" for number in range(300) for word in ("out", "err")]
    assert lines.of("stdout") == [*expected, "no end"]
    assert lines.of("stderr") == []
    apart = Lines()
    await runner.run(request(code), apart)
    assert apart.of("stderr") == [line for line in expected if line.startswith("err")]


@pytest.mark.parametrize("ansi, shown", [("strip", "red"), ("keep", "\x1b[31mred\x1b[0m")])
async def test_progress_and_colours_are_shown_as_asked(
    ansi: str, shown: str, runner: CodeRunner, lines: Lines
) -> None:
    """003-W6: ANSI and carriage returns."""
    script = r"""
        for n in 10 50 100; do printf '\r%s%%' $n; done; echo
        printf '\033]0;title\007\033[31mred\033[0m\n'
    """
    options = {"tty": True, "ansi": ansi}
    value = await runner.run(request(script, "bash", options=options), lines)
    assert lines.of("stdout")[-2:] == ["100%", shown]
    assert value == "100%\nred"


async def test_nobody_sits_at_the_terminal(runner: CodeRunner, lines: Lines) -> None:
    script = "read -p 'Name? ' name || echo nobody"
    assert await runner.run(request(script, "bash", options=ON_TERMINAL), lines) == "Name? nobody"


async def test_what_is_typed_in_is_not_echoed(runner: CodeRunner, lines: Lines) -> None:
    script = "read -s -p 'Password: ' word; echo; echo ${#word}; read more || echo no more"
    for text in ("open-sesame\n", "open-sesame"):
        command = CommandRequest(
            ["bash", "-c", script],
            ProcessOptions(20, stdin=SecretText(text), tty=True),
        )
        printed = await runner.run_command(command, lines)
        assert printed.split("\n")[-2:] == ["11", "no more"]
    assert not any("sesame" in line for line in lines.of("stdout"))


async def test_stdin_without_a_terminal_is_given_and_ends(runner: CodeRunner, lines: Lines) -> None:
    text = "line\n" * 100_000
    command = CommandRequest(["wc", "-l"], ProcessOptions(20, stdin=SecretText(text)))
    assert await runner.run_command(command, lines) == "100000"
    nobody_reads = CommandRequest(["true"], ProcessOptions(20, stdin=SecretText(text)))
    assert await runner.run_command(nobody_reads, lines) == ""


async def test_a_failure_on_a_terminal_tells_what_was_printed(
    runner: CodeRunner, lines: Lines
) -> None:
    script = "echo about to fail; exit 3"
    with pytest.raises(CodeError, match="exit code 3: about to fail"):
        await runner.run(request(script, "bash", options=ON_TERMINAL), lines)


async def test_a_terminal_is_taken_away_with_all_its_users(
    runner: CodeRunner, lines: Lines
) -> None:
    """003-W6: everything is killed, a session of its own or not."""
    before, others = descriptors(), children()
    script = """
        trap '' TERM HUP
        setsid sleep 100 & echo daemon $!
        nohup sleep 100 & echo background $!
        echo child $$
        sleep 100
        sleep 100
    """
    options = {"tty": True, "timeout": 2}
    with pytest.raises(NodeTimeout):
        await runner.run(request(script, "bash", options=options), lines)
    for word in ("daemon", "background", "child"):
        assert not is_running(await lines.pid(word))
    assert (descriptors(), children()) == (before, others)


async def test_a_program_that_prints_without_end_waits_for_its_reader(
    runner: CodeRunner, lines: Lines
) -> None:
    """003-W6: rate and amount are bounded, and the loop goes on meanwhile."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    with pytest.raises(NodeTimeout):
        await runner.run(request("while True: print('x' * 70)", options={"timeout": 3.0}), lines)
    turning.cancel()
    assert turns > 20
    assert len(lines.all) <= 100_001
