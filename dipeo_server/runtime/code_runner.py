"""The code port: user code and commands in child processes, without the server's secrets."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from dipeo_server.domains.execution.ports import (
    CodeRequest,
    CommandRequest,
    Files,
    LineSink,
    ProcessOptions,
)
from dipeo_server.domains.execution.secret_references import SecretText
from dipeo_server.errors import CodeError, NodeTimeout, OutputTooLarge, PathDenied
from dipeo_server.runtime.child_process import ANSWER, STDERR, STDOUT, ChildProcess, undisturbed
from dipeo_server.runtime.line_output import Clean, LineOutput, seen
from dipeo_server.runtime.shell_inputs import command_environment, shell_environment

_MEBIBYTE: Final = 1024 * 1024
_GIBIBYTE: Final = 1024 * _MEBIBYTE
_PYTHON_CHILD: Final = Path(__file__).with_name("python_child.py")
_OPEN_FILES_MAX: Final = 1_024
_LAST_LINES: Final = 10
_MESSAGE_CHARACTERS_MAX: Final = 2_000
_STREAMS: Final = {STDOUT: "stdout", STDERR: "stderr"}

SEARCH_PATH: Final = ":".join(
    [
        str(Path(sys.executable).parent),
        *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
    ]
)
"""Where the code finds programs, unless the server says otherwise."""


class ProcessCodeRunner:
    """Runs each request in a new process, with `base_dir` as its working directory.

    Implements the port CodeRunner. This is no sandbox: the code may do what the server's user may.
    It sees PATH (`search_path`), LANG, HOME, what its node gives it, and nothing else of the
    server's environment. Its result may have `max_output_bytes`, its memory `max_memory_bytes`
    (None = what there is). `clean` takes secrets out of what is told of it.
    """

    def __init__(
        self,
        base_dir: Path,
        files: Files,
        *,
        clean: Clean = str,
        max_output_bytes: int = 16 * _MEBIBYTE,
        max_memory_bytes: int | None = 4 * _GIBIBYTE,
        search_path: str = SEARCH_PATH,
    ) -> None:
        self._base = base_dir.absolute()
        self._files = files
        self._clean = clean
        self._max_output_bytes = max_output_bytes
        self._max_memory_bytes = max_memory_bytes
        self._environment = {
            "PATH": search_path,
            "LANG": "C.UTF-8",
            "HOME": str(self._base),
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def isolation(self) -> str:
        """A process is all that holds the code in."""
        return "process"

    async def run(self, request: CodeRequest, on_line: LineSink) -> Any:
        """The code's result; see the port for what it raises."""
        code, filename, search_path = request.code or "", "<code>", [str(self._base)]
        if request.file_path is not None:
            code = await self._files.read_text(request.file_path)
            filename = str(self._base / request.file_path)
            search_path.append(str(Path(filename).parent))
        is_bash = request.language == "bash"
        asked = {
            "program": ["bash"] if is_bash else None,
            "script": code if is_bash else None,
            "python_child": str(_PYTHON_CHILD),
            "code": code,
            "path": request.file_path,
            "filename": filename,
            "search_path": search_path,
            "function_name": request.function_name,
            "inputs": {} if is_bash else request.inputs,
            "variables": {} if is_bash else request.variables,
            "node_id": request.node_id,
        }
        run = _Run(on_line, self._max_output_bytes, self._clean, request.options)
        run.what = "script" if is_bash else "code"
        inputs = shell_environment(request.inputs) if is_bash else {}
        await self._perform(run, asked, inputs, self._base)
        return run.text() if is_bash else run.value()

    async def run_command(self, request: CommandRequest, on_line: LineSink) -> str:
        """What the command prints to stdout; see the port for what it raises."""
        run = _Run(on_line, self._max_output_bytes, self._clean, request.options)
        run.what = "command"
        folder = await asyncio.to_thread(self._folder, request.cwd)
        asked = {"program": list(request.command), "script": None}
        await self._perform(run, asked, command_environment(request.inputs), folder)
        return run.text()

    def _folder(self, path: str | None) -> Path:
        """A folder below the base directory. Raises PathDenied."""
        base = self._base.resolve()
        folder = (base / (path or "")).resolve()
        if not folder.is_relative_to(base):
            raise PathDenied(f"The working directory {path!r} leaves the base directory.")
        if not folder.is_dir():
            raise PathDenied(f"The working directory {path!r} is no folder.", hint="Make it first.")
        return folder

    async def _perform(
        self, run: _Run, asked: Mapping[str, Any], inputs: Mapping[str, str], cwd: Path
    ) -> None:
        options = run.options
        payload = orjson.dumps(
            {
                **asked,
                "environment": {**inputs, **options.environment},
                "limits": self._limits(options.timeout),
            },
            default=_as_json,
        )
        environment = self._environment | ({"TERM": "xterm-256color"} if options.tty else {})
        stdin = options.stdin.reveal().encode() if options.stdin else b""
        try:
            run.child.start(payload, cwd=cwd, env=environment, stdin=stdin, tty=options.tty)
            async with asyncio.timeout(options.timeout):
                await run.child.has_exited.wait()
        except TimeoutError:
            message = f"The {run.what} did not end within {options.timeout:g} s and was stopped."
            hint = "Raise the node's `timeout`, or let it do less at a time."
            raise NodeTimeout(message, hint=hint, retryable=True) from None
        except OSError as error:
            raise CodeError(f"No process can be started: {error.strerror}.") from error
        finally:
            await undisturbed(run.child.end())
            run.output.finish()

    def _limits(self, timeout: float) -> dict[str, tuple[int, int]]:
        """Soft and hard limits by their names in `resource`."""
        cpu_seconds = (math.ceil(timeout) + 1) * (os.cpu_count() or 1)
        limits = {
            "RLIMIT_CPU": (cpu_seconds, cpu_seconds + 1),
            "RLIMIT_CORE": (0, 0),
            "RLIMIT_FSIZE": (_GIBIBYTE, _GIBIBYTE),
            "RLIMIT_NOFILE": (_OPEN_FILES_MAX, _OPEN_FILES_MAX),
        }
        if self._max_memory_bytes is not None:
            # RLIMIT_AS would count what programs such as node only reserve.
            limits["RLIMIT_DATA"] = (self._max_memory_bytes, self._max_memory_bytes)
        return limits


class _Run:
    """What one process has printed and answered, and what that means."""

    what = "code"

    def __init__(
        self, on_line: LineSink, max_output_bytes: int, clean: Clean, options: ProcessOptions
    ) -> None:
        self.options = options
        self.child = ChildProcess(self._take)
        self.output = LineOutput(self._line, clean=clean, with_colours=options.ansi == "keep")
        self._on_line = on_line
        self._max_output_bytes = max_output_bytes
        self._clean = clean
        self._kept = {STDOUT: bytearray(), ANSWER: bytearray()}
        self._is_too_large = False
        self._last_errors: deque[str] = deque(maxlen=_LAST_LINES)

    def value(self) -> Any:
        """What was answered. Raises CodeError, OutputTooLarge."""
        frame = self._frame()
        if "ok" in frame:
            return frame["ok"]
        raise self._died(self.child.returncode or 0)

    def text(self) -> str:
        """What was printed to stdout, if all went well. Raises CodeError, OutputTooLarge."""
        self._frame()
        if self.child.returncode == 0:
            printed = bytes(self._kept[STDOUT])
            return seen(printed) if self.options.tty else printed.decode(errors="replace").strip()
        raise self._died(self.child.returncode or 0)

    def _frame(self) -> dict[str, Any]:
        if self._is_too_large:
            message = f"The result is larger than {self._max_output_bytes:,} bytes."
            hint = "Write it to a file and give its path as the result."
            raise OutputTooLarge(message, hint=hint)
        frame = _frame(bytes(self._kept[ANSWER]))
        if "error" in frame:
            raise self._raised(frame["error"])
        return frame

    def _raised(self, error: Mapping[str, Any]) -> CodeError:
        for line in error.get("traceback", ()):
            self.output.feed("stderr", f"{line}\n".encode())
        text = self._clean(error["message"])[:_MESSAGE_CHARACTERS_MAX]
        message = ": ".join(filter(None, [error.get("kind"), text]))
        if error.get("place"):
            message = f"{message} ({error['place']})"
        return CodeError(message, retryable=not error.get("is_final", False))

    def _died(self, returncode: int) -> CodeError:
        """The error of a process that ended without a result."""
        hint = None
        if returncode < 0:
            what = f"The {self.what} was killed by {_signal_name(-returncode)}"
            if -returncode in (signal.SIGKILL, signal.SIGXCPU):
                hint = "It may have used up its memory or its CPU time."
        elif self.what == "code":
            what = f"The code ended its process with exit code {returncode} and gave no result"
        else:
            what = f"The {self.what} ended with exit code {returncode}"
        message = ": ".join([what, "\n".join(self._last_errors)]) if self._last_errors else what
        return CodeError(message, hint=hint, retryable=True)

    def _take(self, channel: int, data: bytes) -> int:
        lines = self.output.feed(_STREAMS[channel], data) if channel in _STREAMS else 0
        # Scripts and commands answer by what they print.
        is_answer = channel == ANSWER or (channel == STDOUT and self.what != "code")
        if is_answer and not self._is_too_large:
            kept = self._kept[channel]
            kept += data
            if len(kept) > self._max_output_bytes:
                self._is_too_large = True
                self.child.kill()
        return lines

    def _line(self, stream: str, line: str) -> None:
        if stream == "stderr" or self.options.tty:
            self._last_errors.append(line)
        self._on_line(stream, line)


def _frame(answer: bytes) -> dict[str, Any]:
    """The first whole frame, or an empty one."""
    line, newline, _ = answer.partition(b"\n")
    try:
        frame = orjson.loads(line) if newline else {}
    except orjson.JSONDecodeError:
        return {}
    return frame if isinstance(frame, dict) else {}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, SecretText):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} is no JSON value")
