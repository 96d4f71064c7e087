"""Requests to run code, what they print, and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from dipeo_server.domains.execution.ports import CodeRequest, ProcessOptions
from dipeo_server.errors import CodeError
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles

Language = Literal["python", "bash"]


def request(code: str, language: Language = "python", /, **more: Any) -> CodeRequest:
    """A request; `options` are those of ProcessOptions that differ, `timeout` is one of them."""
    options = {"timeout": more.pop("timeout", 20.0), **more.pop("options", {})}
    fields: dict[str, Any] = {
        "file_path": None,
        "function_name": "main",
        "inputs": {},
        "options": ProcessOptions(**options),
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
                if line.startswith(word):
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


class Python:
    """Runs code and keeps what it printed."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.runner = ProcessCodeRunner(base_dir, BaseDirFiles(base_dir))
        self.lines: list[tuple[str, str]] = []

    async def value(self, code: str, /, inputs: dict[str, Any] | None = None, **more: Any) -> Any:
        fields: dict[str, Any] = {
            "language": "python",
            "code": textwrap.dedent(code),
            "file_path": None,
            "function_name": "main",
            "inputs": inputs or {},
            "options": ProcessOptions(20),
            "node_id": "node_7",
        }
        request = CodeRequest(**(fields | more))
        return await self.runner.run(request, lambda *line: self.lines.append(line))

    async def file_value(self, code: str, /, inputs: dict[str, Any], **more: Any) -> Any:
        (self.base_dir / "code").mkdir(exist_ok=True)
        (self.base_dir / "code" / "job.py").write_text(textwrap.dedent(code))
        return await self.value("", inputs, **{"code": None, "file_path": "code/job.py", **more})

    async def failure(self, code: str, /, inputs: dict[str, Any] | None = None) -> CodeError:
        with pytest.raises(CodeError) as caught:
            await self.value(code, inputs)
        return caught.value


def descriptors() -> list[str]:
    """Everything this process has open, without the one used to look."""
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir() if entry.exists())


def children() -> str:
    """The processes that this one has started and not collected."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()
