"""User code runs in a process of its own, streams its output, and leaves nothing behind."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from dipeo_server.domains.execution.ports import CodeRequest, CodeRunner
from dipeo_server.errors import CodeError, FileMissing, NodeTimeout, OutputTooLarge, PathDenied
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles

Language = Literal["python", "bash"]


def request(code: str, language: Language = "python", /, **more: Any) -> CodeRequest:
    fields: dict[str, Any] = {
        "file_path": None,
        "function_name": "main",
        "inputs": {},
        "timeout": 20.0,
        "node_id": "node_0",
    }
    return CodeRequest(language=language, code=textwrap.dedent(code), **(fields | more))


class Lines:
    """A sink that keeps lines and lets a test wait for one."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    def __call__(self, stream: str, line: str) -> None:
        self.all.append((stream, line))
        self._news.set()

    def of(self, stream: str) -> list[str]:
        return [line for each, line in self.all if each == stream]

    async def first_with(self, word: str) -> str:
        while True:
            for _, line in self.all:
                if word in line:
                    return line
            self._news.clear()
            await self._news.wait()

    async def pid(self, word: str) -> int:
        return int((await self.first_with(word)).split()[-1])


def is_running(pid: int) -> bool:
    """A zombie, which only waits to be collected, runs no more."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


async def until(condition: Callable[[], bool]) -> None:
    # Nobody tells when a process of others has gone; the test's own timeout ends the wait.
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)


@pytest.fixture
def runner(base_dir: Path) -> CodeRunner:
    return ProcessCodeRunner(base_dir, BaseDirFiles(base_dir))


@pytest.fixture
def lines() -> Lines:
    return Lines()


# --- what the process has -----------------------------------------------------------------------


async def test_a_process_is_all_that_holds_the_code(runner: CodeRunner) -> None:
    assert runner.isolation == "process"


async def test_the_code_runs_in_the_base_directory_without_the_servers_environment(
    base_dir: Path, runner: CodeRunner, lines: Lines
) -> None:
    code = "import os\nreturn {**os.environ, 'cwd': os.getcwd()}"
    seen = await runner.run(request(code), lines)
    assert sorted(seen) == ["HOME", "LANG", "PATH", "PYTHONUNBUFFERED", "cwd"]
    assert seen["cwd"] == seen["HOME"] == str(base_dir)


async def test_the_code_has_limits_and_no_descriptors_but_its_own(
    base_dir: Path, lines: Lines
) -> None:
    runner = ProcessCodeRunner(base_dir, BaseDirFiles(base_dir), max_memory_bytes=512 * 2**20)
    code = """
        import os, resource
        limits = "CORE CPU DATA FSIZE NOFILE".split()
        result = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in limits}
        result["open"] = len(os.listdir("/proc/self/fd")) - 1
        result["leads"] = os.getsid(0) == os.getpid() == os.getpgrp()
    """
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # noqa: FBT003 - the signature is Python's own
    try:
        seen = await runner.run(request(code, timeout=10), lines)
    finally:
        os.close(reading)
        os.close(writing)
    cpu_seconds = 11 * (os.cpu_count() or 1)
    assert seen == {
        "CORE": [0, 0],
        "CPU": [cpu_seconds, cpu_seconds + 1],
        "DATA": [512 * 2**20] * 2,
        "FSIZE": [2**30] * 2,
        "NOFILE": [1024] * 2,
        "open": 4,
        "leads": True,
    }


async def test_too_much_memory_is_an_error_of_the_code(base_dir: Path, lines: Lines) -> None:
    runner = ProcessCodeRunner(base_dir, BaseDirFiles(base_dir), max_memory_bytes=512 * 2**20)
    with pytest.raises(CodeError, match="MemoryError"):
        await runner.run(request("x = bytearray(2**30)"), lines)


async def test_a_file_is_read_through_the_file_port(
    base_dir: Path, runner: CodeRunner, lines: Lines
) -> None:
    (base_dir / "job.sh").write_text("echo from a file")
    assert await runner.run(request("", "bash", file_path="job.sh"), lines) == "from a file"
    with pytest.raises(FileMissing) as caught:
        await runner.run(request("", file_path="jab.sh"), lines)
    assert caught.value.hint == "Did you mean 'job.sh'?"
    with pytest.raises(PathDenied):
        await runner.run(request("", file_path="../job.py"), lines)


async def test_a_missing_base_directory_is_told(tmp_path: Path, lines: Lines) -> None:
    runner = ProcessCodeRunner(tmp_path / "nowhere", BaseDirFiles(tmp_path))
    with pytest.raises(CodeError, match="No process can be started: No such file or directory"):
        await runner.run(request("result = 1"), lines)


# --- output -------------------------------------------------------------------------------------


async def test_lines_arrive_while_the_code_runs(
    base_dir: Path, runner: CodeRunner, lines: Lines
) -> None:
    code = """
        import os, sys, time
        print("on", "stdout")
        print("on stderr", file=sys.stderr)
        while not os.path.exists("go-on"):
            time.sleep(0.005)
        print("last", end="")
        result = "done"
    """
    running = asyncio.create_task(runner.run(request(code), lines))
    assert await lines.first_with("on stdout") == "on stdout"
    assert await lines.first_with("on stderr") == "on stderr"
    assert lines.of("stdout") == ["on stdout"]
    (base_dir / "go-on").touch()
    assert await running == "done"
    assert lines.of("stdout") == ["on stdout", "last"]
    assert lines.of("stderr") == ["on stderr"]


@pytest.mark.parametrize("language", ["python", "bash"])
async def test_a_result_beyond_the_limit_stops_the_code(
    language: Language, base_dir: Path, lines: Lines
) -> None:
    runner = ProcessCodeRunner(base_dir, BaseDirFiles(base_dir), max_output_bytes=100_000)
    code = "result = 'x' * 100_000" if language == "python" else "yes"
    with pytest.raises(OutputTooLarge, match="100,000 bytes"):
        await runner.run(request(code, language), lines)
    assert await runner.run(request("result = 'x' * 90_000"), lines) == "x" * 90_000


async def test_a_flood_of_output_is_cut_off_and_harms_nothing(
    runner: CodeRunner, lines: Lines
) -> None:
    code = "print('x\\n' * 150_000)\nprint('after')\nresult = 1"
    assert await runner.run(request(code), lines) == 1
    assert len(lines.all) == 100_001
    assert lines.all[-1][1].startswith("output truncated")


# --- ends ---------------------------------------------------------------------------------------


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
    program = "import os, time; print('grandchild', os.getpid(), flush=True); time.sleep(100)"
    subprocess.Popen([sys.executable, "-c", program])
    print("child", os.getpid())
    time.sleep(100)
"""


async def test_a_timeout_kills_the_whole_group(runner: CodeRunner, lines: Lines) -> None:
    with pytest.raises(NodeTimeout, match="did not end within 2 s") as caught:
        await runner.run(request(STUBBORN, timeout=2), lines)
    assert caught.value.retryable
    assert not is_running(await lines.pid("child"))
    grandchild = await lines.pid("grandchild")
    await until(lambda: not is_running(grandchild))


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelling_kills_the_whole_group(
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
    before = descriptors()
    for number in range(12):
        running = asyncio.create_task(runner.run(request("import time; time.sleep(9)"), lines))
        for _ in range(number):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert descriptors() == before
    assert not children()


async def test_what_the_code_leaves_running_is_killed(runner: CodeRunner, lines: Lines) -> None:
    code = """
        import subprocess
        process = subprocess.Popen(["sleep", "100"])
        result = process.pid
    """
    pid = await runner.run(request(code), lines)
    await until(lambda: not is_running(pid))


async def test_a_process_that_left_the_group_does_not_hold_up_the_result(
    runner: CodeRunner, lines: Lines
) -> None:
    code = """
        import subprocess
        process = subprocess.Popen(["sleep", "100"], start_new_session=True)
        result = process.pid
    """
    pid = await runner.run(request(code), lines)
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


async def test_the_code_dies_with_its_server(base_dir: Path) -> None:
    server = """
        import asyncio, sys
        from pathlib import Path
        from dipeo_server.domains.execution.ports import CodeRequest
        from dipeo_server.runtime.code_runner import ProcessCodeRunner
        from dipeo_server.runtime.files import BaseDirFiles

        base = Path(sys.argv[1])
        code = "import os, time; print(os.getpid()); time.sleep(100)"
        request = CodeRequest("python", code, None, "main", {}, 60, "node_0")
        runner = ProcessCodeRunner(base, BaseDirFiles(base))
        asyncio.run(runner.run(request, lambda stream, line: print(line, flush=True)))
    """
    program = [sys.executable, "-c", textwrap.dedent(server), str(base_dir)]
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE, cwd=root)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert is_running(pid)
    process.kill()
    await process.communicate()
    await until(lambda: not is_running(pid))


async def test_a_request_that_nobody_reads_is_dropped(runner: CodeRunner, lines: Lines) -> None:
    inputs = {"x": "x" * 20_000_000}
    with pytest.raises(NodeTimeout):
        await runner.run(request("result = 1", inputs=inputs, timeout=0.001), lines)


async def test_many_runs_leave_nothing_open(runner: CodeRunner, lines: Lines) -> None:
    await runner.run(request("result = 1"), lines)
    gc.collect()
    before = descriptors()
    async with asyncio.TaskGroup() as tasks:
        runs = [
            tasks.create_task(runner.run(request(f"return {number}"), lines)) for number in range(6)
        ]
    assert [each.result() for each in runs] == list(range(6))
    gc.collect()
    assert descriptors() == before
    assert not children()


def descriptors() -> list[str]:
    """Everything this process has open, without the one used to look."""
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir() if entry.exists())


def children() -> str:
    """The processes that this one has started and not collected."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


# --- bash ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, value",
    [
        ("echo ' two words '", "two words"),
        ("echo one; echo two; echo error >&2", "one\ntwo"),
        ("true", ""),
        ('echo "$INPUT_raw_data|$INPUT_list"; echo $INPUT_KEYS', 'a  b|[1,"x"]\nraw_data list'),
        ("for key in $INPUT_KEYS; do name=INPUT_$key; echo ${!name}; done", 'a b\n[1,"x"]'),
        ("cat; echo end of input", "end of input"),
        ("yes | head -1; echo ${PIPESTATUS[0]}", "y\n141"),
        ("ulimit -c; ulimit -n", "0\n1024"),
        ("# " + "long " * 100_000 + "\necho a long script", "a long script"),
        ("pwd; echo $HOME", "{base}\n{base}"),
        ("printf '\\xff'", "\N{REPLACEMENT CHARACTER}"),
    ],
    ids=range(11),
)
async def test_the_value_of_a_script_is_what_it_prints(
    code: str, value: str, base_dir: Path, runner: CodeRunner, lines: Lines
) -> None:
    inputs = {"raw data": "a  b", "list": [1, "x"]}
    printed = await runner.run(request(code, "bash", inputs=inputs), lines)
    assert printed == value.replace("{base}", str(base_dir))


async def test_a_script_prints_its_lines_too(runner: CodeRunner, lines: Lines) -> None:
    await runner.run(request("echo one; echo two >&2", "bash"), lines)
    assert sorted(lines.all) == [("stderr", "two"), ("stdout", "one")]


async def test_a_script_that_fails_tells_its_code_and_last_words(
    runner: CodeRunner, lines: Lines
) -> None:
    code = "echo started\nfor i in $(seq 20); do echo line $i >&2; done\nexit 3"
    with pytest.raises(CodeError) as caught:
        await runner.run(request(code, "bash"), lines)
    assert caught.value.message == "The script ended with exit code 3: " + "\n".join(
        f"line {number}" for number in range(11, 21)
    )
    assert caught.value.retryable


async def test_a_script_without_bash_is_told(base_dir: Path, lines: Lines) -> None:
    runner = ProcessCodeRunner(base_dir, BaseDirFiles(base_dir), search_path="/nowhere")
    with pytest.raises(CodeError, match="bash cannot be started: No such file or directory"):
        await runner.run(request("true", "bash"), lines)


async def test_a_timeout_ends_a_script_and_all_it_started(runner: CodeRunner, lines: Lines) -> None:
    code = "sleep 100 & echo background $!; sleep 100"
    with pytest.raises(NodeTimeout):
        await runner.run(request(code, "bash", timeout=2), lines)
    background = await lines.pid("background")
    await until(lambda: not is_running(background))
