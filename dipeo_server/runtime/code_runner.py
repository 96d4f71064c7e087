"""The code port: user code in a child process, with limits, and without the server's secrets."""

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

from dipeo_server.domains.execution.ports import CodeRequest, Files, LineSink
from dipeo_server.errors import CodeError, NodeTimeout, OutputTooLarge
from dipeo_server.runtime.child_process import ANSWER, STDERR, STDOUT, ChildProcess, undisturbed
from dipeo_server.runtime.line_output import LineOutput
from dipeo_server.runtime.shell_inputs import shell_environment

_MEBIBYTE: Final = 1024 * 1024
_GIBIBYTE: Final = 1024 * _MEBIBYTE
_CHILD: Final = Path(__file__).with_name("python_child.py")
_OPEN_FILES_MAX: Final = 1_024
_LAST_LINES: Final = 10
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
    It sees PATH (`search_path`), LANG, HOME and the inputs of its node, nothing else of the
    server's environment. Its result may have `max_output_bytes`, its memory `max_memory_bytes`
    (None = what there is).
    """

    def __init__(
        self,
        base_dir: Path,
        files: Files,
        *,
        max_output_bytes: int = 16 * _MEBIBYTE,
        max_memory_bytes: int | None = 4 * _GIBIBYTE,
        search_path: str = SEARCH_PATH,
    ) -> None:
        self._base = base_dir.absolute()
        self._files = files
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
        payload = await self._payload(request)
        run = _Run(request, on_line, self._max_output_bytes)
        program = [sys.executable, "-I", "-B", "-u", "-X", "utf8", str(_CHILD), str(os.getpid())]
        try:
            run.child.start(program, payload, cwd=self._base, env=self._environment)
            async with asyncio.timeout(request.timeout):
                await run.child.has_exited.wait()
        except TimeoutError:
            message = f"The code did not end within {request.timeout:g} s and was stopped."
            hint = "Raise the node's `timeout`, or let the code do less at a time."
            raise NodeTimeout(message, hint=hint, retryable=True) from None
        except OSError as error:
            raise CodeError(f"No process can be started: {error.strerror}.") from error
        finally:
            await undisturbed(run.child.end())
            run.output.finish()
        return run.value()

    async def _payload(self, request: CodeRequest) -> bytes:
        path = request.file_path
        code = request.code or ""
        filename, search_path = "<code>", [str(self._base)]
        if path is not None:
            code = await self._files.read_text(path)
            filename = str(self._base / path)
            search_path.append(str(Path(filename).parent))
        is_bash = request.language == "bash"
        return orjson.dumps(
            {
                "language": request.language,
                "code": code,
                "path": path,
                "filename": filename,
                "search_path": search_path,
                "function_name": request.function_name,
                "inputs": {} if is_bash else request.inputs,
                "variables": {} if is_bash else request.variables,
                "environment": shell_environment(request.inputs) if is_bash else {},
                "node_id": request.node_id,
                "limits": self._limits(request.timeout),
            },
            default=_as_json,
        )

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

    def __init__(self, request: CodeRequest, on_line: LineSink, max_output_bytes: int) -> None:
        self.child = ChildProcess(self._take)
        self.output = LineOutput(self._line)
        self._request = request
        self._on_line = on_line
        self._max_output_bytes = max_output_bytes
        # Bash answers by what it prints.
        self._answers_on = STDOUT if request.language == "bash" else ANSWER
        self._kept = {STDOUT: bytearray(), ANSWER: bytearray()}
        self._is_too_large = False
        self._last_errors: deque[str] = deque(maxlen=_LAST_LINES)

    def value(self) -> Any:
        """The result. Raises CodeError, OutputTooLarge."""
        if self._is_too_large:
            message = f"The result is larger than {self._max_output_bytes:,} bytes."
            hint = "Write it to a file and give its path as the result."
            raise OutputTooLarge(message, hint=hint)
        frame = _frame(bytes(self._kept[ANSWER]))
        if "error" in frame:
            raise self._raised(frame["error"])
        if "ok" in frame:
            return frame["ok"]
        if self._answers_on == STDOUT and self.child.returncode == 0:
            return self._kept[STDOUT].decode(errors="replace").strip()
        raise self._died(self.child.returncode or 0)

    def _raised(self, error: Mapping[str, Any]) -> CodeError:
        for line in error.get("traceback", ()):
            self.output.feed("stderr", f"{line}\n".encode())
        return CodeError(error["message"], retryable=not error.get("is_final", False))

    def _died(self, returncode: int) -> CodeError:
        """The error of a process that ended without a result."""
        hint = None
        if returncode < 0:
            what = f"The code was killed by {_signal_name(-returncode)}"
            if -returncode in (signal.SIGKILL, signal.SIGXCPU):
                hint = "It may have used up its memory or its CPU time."
        elif self._answers_on == STDOUT:
            what = f"The script ended with exit code {returncode}"
        else:
            what = f"The code ended its process with exit code {returncode} and gave no result"
        message = ": ".join([what, "\n".join(self._last_errors)]) if self._last_errors else what
        return CodeError(message, hint=hint, retryable=True)

    def _take(self, channel: int, data: bytes) -> None:
        if channel in _STREAMS:
            self.output.feed(_STREAMS[channel], data)
        if channel in (self._answers_on, ANSWER) and not self._is_too_large:
            kept = self._kept[channel]
            kept += data
            if len(kept) > self._max_output_bytes:
                self._is_too_large = True
                self.child.kill()

    def _line(self, stream: str, line: str) -> None:
        if stream == "stderr":
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
    raise TypeError(f"{type(value).__name__} is no JSON value")
