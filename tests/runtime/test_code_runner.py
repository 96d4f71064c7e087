"""User code runs in a process of its own and streams what it prints."""

import asyncio
import os
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ports import CodeRunner
from dipeo_server.errors import CodeError, FileMissing, NodeTimeout, OutputTooLarge, PathDenied
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from tests.runtime.code_world import (
    Language,
    Lines,
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
