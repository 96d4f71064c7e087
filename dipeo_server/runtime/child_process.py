"""A child process in a session of its own that leaves nothing behind, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from typing_extensions import override

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
ANSWER: Final = 3
"""A channel besides stdout and stderr, on which the child gives its result."""

GRACE_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 1.0

T = TypeVar("T")
Take: TypeAlias = Callable[[int, bytes], None]


class ChildProcess:
    """Runs one program; what comes on a channel goes to `take(channel, data)` at once.

    Call `start`, wait for `has_exited`, and call `end` in any case: when that returns, the whole
    process group has been killed and every descriptor is closed. (A process that has moved to a
    session of its own is out of reach: it only loses its pipes.)
    """

    def __init__(self, take: Take) -> None:
        self.has_exited = asyncio.Event()
        self._take = take
        self._open = {STDOUT, STDERR, ANSWER}
        self._has_drained = asyncio.Event()
        self._has_closed = asyncio.Event()
        self._process: asyncio.SubprocessTransport | None = None
        self._answer: asyncio.ReadTransport | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None before the end."""
        return self._process.get_returncode() if self._process else None

    async def start(
        self, program: Sequence[str], request: bytes, *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        """Start it, with `request` on stdin; the number of the answer's descriptor is appended.

        Raises OSError if it cannot be started.
        """
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        try:
            self._process, _ = await loop.subprocess_exec(
                lambda: _ProcessEvents(self._take, self._lose, self.has_exited, self._has_closed),
                *program,
                str(writing),
                cwd=cwd,
                env=env,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._answer, _ = await loop.connect_read_pipe(
            lambda: _AnswerEvents(self._take, self._lose), os.fdopen(reading, "rb", buffering=0)
        )
        stdin = self._process.get_pipe_transport(STDIN)
        if isinstance(stdin, asyncio.WriteTransport):
            stdin.write(request)
            stdin.write_eof()

    def kill(self) -> None:
        """Kill the process group without further ado."""
        self._signal(signal.SIGKILL)

    async def end(self) -> None:
        """Ask the group to end, kill what does not, and release everything."""
        if self._process is None:
            return
        try:
            await self._end_group()
            await self.has_exited.wait()
            await _within(DRAIN_SECONDS, self._has_drained)
        finally:
            self._release(self._process)
        await self._has_closed.wait()

    async def _end_group(self) -> None:
        try:
            if not self.has_exited.is_set():
                self._signal(signal.SIGTERM)
                await _within(GRACE_SECONDS, self.has_exited)
        finally:
            # Others of the group may outlive the first one, even if that ended by itself. Its
            # number stays theirs as long as they live, so nobody else is hit.
            self._signal(signal.SIGKILL)

    def _release(self, process: asyncio.SubprocessTransport) -> None:
        stdin = process.get_pipe_transport(STDIN)
        if isinstance(stdin, asyncio.WriteTransport) and stdin.get_write_buffer_size():
            # Closing alone would wait until somebody has read the rest.
            stdin.abort()
        process.close()
        if self._answer is not None:
            self._answer.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.get_pid(), number)

    def _lose(self, channel: int) -> None:
        self._open.discard(channel)
        if not self._open:
            self._has_drained.set()


class _ProcessEvents(asyncio.SubprocessProtocol):
    """What asyncio tells about the process and its pipes."""

    def __init__(
        self,
        take: Take,
        lose: Callable[[int], None],
        has_exited: asyncio.Event,
        has_closed: asyncio.Event,
    ) -> None:
        self._take = take
        self._lose = lose
        self._has_exited = has_exited
        self._has_closed = has_closed

    @override
    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._take(fd, data)

    @override
    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._lose(fd)

    @override
    def process_exited(self) -> None:
        self._has_exited.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._has_closed.set()


class _AnswerEvents(asyncio.Protocol):
    """What asyncio tells about the answer's pipe."""

    def __init__(self, take: Take, lose: Callable[[int], None]) -> None:
        self._take = take
        self._lose = lose

    @override
    def data_received(self, data: bytes) -> None:
        self._take(ANSWER, data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(ANSWER)


async def undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Do it to the end, even if the caller is cancelled meanwhile; that is raised afterwards."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()


async def _within(seconds: float, event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
