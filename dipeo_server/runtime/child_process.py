"""A child process in a session of its own that leaves nothing behind, however it ends.

Not asyncio's own subprocess: when a loop ends while one of those is being started, it waits for
ever. Here starting and releasing take no `await`, so no cancellation can come in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
ANSWER: Final = 3
"""A channel besides stdout and stderr, on which the child gives its result."""

GRACE_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024

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
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipes: dict[int, io.FileIO] = {}
        self._unsent = memoryview(b"")
        self._has_drained = asyncio.Event()

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None before the end."""
        return self._process.returncode if self._process else None

    def start(
        self, program: Sequence[str], request: bytes, *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        """Start it, with `request` on stdin; the number of the answer's descriptor is appended.

        Raises OSError if it cannot be started.
        """
        reading, writing = os.pipe()
        self._pipes[ANSWER] = io.FileIO(reading)
        try:
            self._process = subprocess.Popen(
                [*program, str(writing)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=env,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except BaseException:
            self._pipes.pop(ANSWER).close()
            raise
        finally:
            os.close(writing)
        self._watch(self._process, request)

    def _watch(self, process: subprocess.Popen[bytes], request: bytes) -> None:
        # Without a buffer these are plain files, whatever the type says.
        self._pipes[STDIN] = cast("io.FileIO", process.stdin)
        self._pipes[STDOUT] = cast("io.FileIO", process.stdout)
        self._pipes[STDERR] = cast("io.FileIO", process.stderr)
        for channel, pipe in self._pipes.items():
            os.set_blocking(pipe.fileno(), False)
            if channel != STDIN:
                self._loop.add_reader(pipe, self._read, channel)
        self._unsent = memoryview(request)
        self._loop.add_writer(self._pipes[STDIN], self._write)
        threading.Thread(target=self._wait, args=(process,), daemon=True).start()

    def kill(self) -> None:
        """Kill the process group without further ado."""
        self._signal(signal.SIGKILL)

    async def end(self) -> None:
        """Ask the group to end, kill what does not, and release everything."""
        if self._process is None:
            return
        try:
            if not self.has_exited.is_set():
                self._signal(signal.SIGTERM)
                await _within(GRACE_SECONDS, self.has_exited)
            # Others of the group may outlive the first one, even if that ended by itself. Its
            # number stays theirs as long as they live, so nobody else is hit.
            self.kill()
            await self.has_exited.wait()
            await _within(DRAIN_SECONDS, self._has_drained)
        finally:
            self._release(self._process)

    def _release(self, process: subprocess.Popen[bytes]) -> None:
        """Make sure that nothing is left; waits only if `end` was broken off."""
        if process.returncode is None:
            self.kill()
        for channel in list(self._pipes):
            self._close(channel)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(DRAIN_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread of its own: tell when the process has exited."""
        process.wait()
        with contextlib.suppress(RuntimeError):
            # A loop that is closed has nobody left to tell.
            self._loop.call_soon_threadsafe(self.has_exited.set)

    def _read(self, channel: int) -> None:
        data = self._pipes[channel].read(_CHUNK_BYTES)
        if data:
            self._take(channel, data)
        elif data is not None:
            self._close(channel)

    def _write(self) -> None:
        try:
            # None: the pipe is full after all.
            sent = self._pipes[STDIN].write(self._unsent[:_CHUNK_BYTES]) or 0
            self._unsent = self._unsent[sent:]
        except BrokenPipeError:
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._close(STDIN)

    def _close(self, channel: int) -> None:
        pipe = self._pipes.pop(channel)
        if channel == STDIN:
            self._loop.remove_writer(pipe)
        else:
            self._loop.remove_reader(pipe)
        pipe.close()
        if not self._pipes.keys() - {STDIN}:
            self._has_drained.set()


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
