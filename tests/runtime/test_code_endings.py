"""However user code ends, the outcome is told and nothing is left behind."""

import asyncio
import gc
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ports import CodeRunner
from dipeo_server.errors import CodeError, NodeTimeout
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from tests.runtime.code_world import (
    Lines,
    children,
    descriptors,
    is_running,
    request,
    until,
)


@pytest.fixture
def runner(base_dir: Path) -> CodeRunner:
    return ProcessCodeRunner(base_dir, BaseDirFiles(base_dir))


@pytest.fixture
def lines() -> Lines:
    return Lines()


WRITE_NONSENSE = """
    import os
    for descriptor in range(3, 900):
        try:
            os.write(descriptor, b"{]\\n")
        except OSError:
            pass
"""


@pytest.mark.parametrize(
    "code, message",
    [
        (
            "import os, sys\nprint('why', file=sys.stderr)\nos._exit(3)",
            "The code ended its process with exit code 3 and gave no result: why",
        ),
        ("import os\nos._exit(0)", "ended its process with exit code 0 and gave no result"),
        ("import os\nos.kill(os.getpid(), 11)", "The code was killed by SIGSEGV"),
        ("import os\nos.kill(os.getpid(), 9)", "The code was killed by SIGKILL"),
        ("import os\nos.kill(os.getpid(), 40)", "The code was killed by signal 40"),
        ("import os\nos.closerange(3, 900)\nresult = 1", "exit code 1 and gave no result"),
        (WRITE_NONSENSE, "ended its process with exit code 0 and gave no result"),
    ],
)
async def test_a_process_that_ends_without_a_result_is_an_error(
    code: str, message: str, runner: CodeRunner, lines: Lines
) -> None:
    with pytest.raises(CodeError) as caught:
        await runner.run(request(code), lines)
    assert message in caught.value.message


async def test_the_result_counts_even_if_the_process_ends_badly(
    runner: CodeRunner, lines: Lines
) -> None:
    code = "import atexit, os\natexit.register(os._exit, 5)\nresult = 1"
    assert await runner.run(request(code), lines) == 1


async def test_a_fork_that_runs_on_does_not_answer_twice(runner: CodeRunner, lines: Lines) -> None:
    code = "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nresult = 'same'"
    assert await runner.run(request(code), lines) == "same"


STUBBORN = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    program = "import os, time; os.write(1, b'grandchild %d\\\\n' % os.getpid()); time.sleep(100)"
    subprocess.Popen([sys.executable, "-c", program])
    os.write(1, b"child %d\\n" % os.getpid())
    time.sleep(100)
"""


async def test_a_timeout_kills_all_that_was_started(runner: CodeRunner, lines: Lines) -> None:
    with pytest.raises(NodeTimeout, match="did not end within 2 s") as caught:
        await runner.run(request(STUBBORN, timeout=2), lines)
    assert caught.value.retryable
    assert not is_running(await lines.pid("child"))
    grandchild = await lines.pid("grandchild")
    await until(lambda: not is_running(grandchild))


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelling_kills_all_that_was_started(
    times: int, runner: CodeRunner, lines: Lines
) -> None:
    running = asyncio.create_task(runner.run(request(STUBBORN), lines))
    child, grandchild = await lines.pid("child"), await lines.pid("grandchild")
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_running(child)
    await until(lambda: not is_running(grandchild))


async def test_the_code_may_clean_up_when_it_is_stopped(runner: CodeRunner, lines: Lines) -> None:
    code = """
        import signal, sys, time
        def stop(*_):
            print("cleaned up")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        print("ready")
        time.sleep(100)
    """
    running = asyncio.create_task(runner.run(request(code), lines))
    await lines.first_with("ready")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lines.of("stdout") == ["ready", "cleaned up"]


async def test_cancelling_at_any_moment_leaves_nothing(runner: CodeRunner, lines: Lines) -> None:
    before, others = descriptors(), children()
    for number in range(12):
        running = asyncio.create_task(runner.run(request("import time; time.sleep(9)"), lines))
        for _ in range(number):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert descriptors() == before
    assert children() == others


@pytest.mark.parametrize("turns", [*range(6), 200])
def test_a_loop_that_ends_meanwhile_leaves_nothing(turns: int, runner: CodeRunner) -> None:
    async def leave_it_alone() -> None:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(9)"
        running = asyncio.create_task(runner.run(request(code), Lines()))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert not running.done()

    before, others = descriptors(), children()
    asyncio.run(leave_it_alone())
    assert descriptors() == before
    assert children() == others


async def test_what_the_code_leaves_running_is_killed(runner: CodeRunner, lines: Lines) -> None:
    code = """
        import subprocess
        process = subprocess.Popen(["sleep", "100"])
        result = process.pid
    """
    pid = await runner.run(request(code), lines)
    await until(lambda: not is_running(pid))


# Two processes print at once, each its line in one piece: `print` would write it in several.
DAEMON = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    program = (
        "import os, signal, sys, time\\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n"
        "os.setsid()\\n"
        "if os.fork(): os._exit(0)\\n"
        "os.setpgid(0, 0)\\n"
        "os.write(1, b'daemon %d\\\\n' % os.getpid())\\n"
        "os.closerange(0, 99)\\n"
        "time.sleep(100)"
    )
    subprocess.run([sys.executable, "-c", program])
    subprocess.Popen(["sleep", "100"], start_new_session=True)
    os.write(1, b"child %d\\n" % os.getpid())
"""


async def test_a_daemon_that_the_code_has_started_ends_with_it(
    runner: CodeRunner, lines: Lines
) -> None:
    """003-W6: nothing is left behind, wherever it has gone."""
    assert await runner.run(request(DAEMON + "    result = 1"), lines) == 1
    assert not is_running(await lines.pid("daemon"))


async def test_stopping_the_code_stops_daemons_that_ignore_it(
    runner: CodeRunner, lines: Lines
) -> None:
    """G10: abort leaves no process behind."""
    others = children()
    running = asyncio.create_task(runner.run(request(DAEMON + "    time.sleep(100)"), lines))
    child, daemon = await lines.pid("child"), await lines.pid("daemon")
    assert is_running(daemon)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_running(child)
    assert not is_running(daemon)
    assert children() == others


async def test_code_that_stops_its_keeper_is_killed_all_the_same(
    runner: CodeRunner, lines: Lines
) -> None:
    code = "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n" + textwrap.dedent(DAEMON)
    with pytest.raises(NodeTimeout):
        await runner.run(request(code + "time.sleep(100)", timeout=2), lines)
    child, daemon = await lines.pid("child"), await lines.pid("daemon")
    await until(lambda: not is_running(child) and not is_running(daemon))


async def test_code_that_kills_its_keeper_dies_with_it(runner: CodeRunner, lines: Lines) -> None:
    code = """
        import os, time
        print("child", os.getpid())
        os.kill(os.getppid(), 9)
        time.sleep(100)
    """
    with pytest.raises(CodeError, match="was killed by SIGKILL"):
        await runner.run(request(code), lines)
    child = await lines.pid("child")
    await until(lambda: not is_running(child))


async def test_the_code_dies_with_its_server(base_dir: Path) -> None:
    """However it dies, and daemons too."""
    server = """
        import asyncio, sys
        from pathlib import Path
        from dipeo_server.domains.execution.ports import CodeRequest, ProcessOptions
        from dipeo_server.runtime.code_runner import ProcessCodeRunner
        from dipeo_server.runtime.files import BaseDirFiles

        base = Path(sys.argv[1])
        request = CodeRequest("python", sys.argv[2], None, "main", {}, ProcessOptions(60), "node_0")
        runner = ProcessCodeRunner(base, BaseDirFiles(base))
        asyncio.run(runner.run(request, lambda stream, line: print(line, flush=True)))
    """
    code = textwrap.dedent(DAEMON) + "time.sleep(100)"
    program = [sys.executable, "-c", textwrap.dedent(server), str(base_dir), code]
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE, cwd=root)
    assert process.stdout is not None
    told = [await process.stdout.readline() for _ in range(2)]
    daemon, child = (int(line.split()[-1]) for line in told)
    assert is_running(child)
    assert is_running(daemon)
    process.kill()
    await process.communicate()
    await until(lambda: not is_running(child) and not is_running(daemon))


async def test_a_request_that_nobody_reads_is_dropped(runner: CodeRunner, lines: Lines) -> None:
    inputs = {"x": "x" * 20_000_000}
    with pytest.raises(NodeTimeout):
        await runner.run(request("result = 1", inputs=inputs, timeout=0.001), lines)


async def test_many_runs_leave_nothing_open(runner: CodeRunner, lines: Lines) -> None:
    await runner.run(request("result = 1"), lines)
    gc.collect()
    before, others = descriptors(), children()
    async with asyncio.TaskGroup() as tasks:
        runs = [
            tasks.create_task(runner.run(request(f"return {number}"), lines)) for number in range(6)
        ]
    assert [each.result() for each in runs] == list(range(6))
    gc.collect()
    assert descriptors() == before
    assert children() == others
