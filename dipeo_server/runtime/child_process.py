"""A child process that leaves nothing behind, however it ends: neither processes nor descriptors.

Not asyncio's own subprocess: when a loop ends while one of those is being started, it waits for
ever. Here starting and releasing take no `await`, so no cancellation can come in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

from dipeo_server.runtime.child_keeper import descendants

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
REQUEST: Final = 3
"""A channel besides stdin, on which the child is told what to do."""
ANSWER: Final = 4
"""A channel besides stdout and stderr, on which the child gives its result."""

GRACE_SECONDS: Final = 0.5
KEEPER_SECONDS: Final = 1.0
"""What the keeper has, behind that, to kill everything."""
DRAIN_SECONDS: Final = 1.0
TERMINAL_SIZE: Final = (24, 120)

_KEEPER: Final = Path(__file__).with_name("child_keeper.py")
_CHUNK_BYTES: Final = 64 * 1024
_OUTPUT_CHUNK_BYTES: Final = 8 * 1024
# How much of our time a child may claim by printing; then it has to wait until we read on.
_BYTES_PER_SECOND: Final = 256 * 1024 * 1024
_LINES_PER_SECOND: Final = 25_000
_BURST_SECONDS: Final = 0.2
_WRITTEN: Final = (STDIN, REQUEST)
_END_OF_INPUT: Final = b"\x04"
_ENDS_OF_INPUT: Final = 16  # Each is for one read only.

T = TypeVar("T")
Take: TypeAlias = Callable[[int, bytes], int]
"""Takes what came on a channel; gives how many lines were kept of it."""


class ChildProcess:
    """Runs one program under its keeper; what comes on a channel goes to `take` at once.

    Call `start`, wait for `has_exited`, and call `end` in any case: when that returns, everything
    that the program has started has been killed and every descriptor is closed.
    """

    def __init__(self, take: Take) -> None:
        self.has_exited = asyncio.Event()
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipes: dict[int, io.FileIO] = {}
        self._unsent: dict[int, memoryview] = {}
        self._has_drained = asyncio.Event()
        self._paid_until = 0.0
        self._pause: asyncio.TimerHandle | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None before the end."""
        return self._process.returncode if self._process else None

    def start(
        self,
        request: bytes,
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes = b"",
        tty: bool = False,
    ) -> None:
        """Start the keeper, with `request` for its child, and `stdin` on stdin, which ends then.

        `tty`: stdin, stdout and stderr are one terminal, whose output comes on STDOUT. Raises
        OSError if it cannot be started.
        """
        with contextlib.ExitStack() as theirs:
            try:
                asked, answered = self._side_channels(theirs)
                terminal = self._terminal(theirs) if tty else None
                standard = subprocess.PIPE if terminal is None else terminal
                has_stdin = tty or bool(stdin)
                program = [sys.executable, "-I", "-B", "-u", "-X", "utf8", str(_KEEPER)]
                process = subprocess.Popen(
                    [
                        *program,
                        *map(str, (os.getpid(), asked, answered)),
                        *(["tty"] if tty else []),
                    ],
                    bufsize=0,
                    stdin=standard if has_stdin else subprocess.DEVNULL,
                    stdout=standard,
                    stderr=standard,
                    cwd=cwd,
                    env=env,
                    pass_fds=(asked, answered),
                    start_new_session=True,
                )
            except BaseException:
                for channel in list(self._pipes):
                    self._pipes.pop(channel).close()
                raise
        self._process = process
        for channel, pipe in enumerate((process.stdin, process.stdout, process.stderr)):
            if pipe is not None:
                # Without a buffer these are plain files, whatever the type says.
                self._pipes[channel] = cast("io.FileIO", pipe)
        self._send(REQUEST, request)
        self._send(STDIN, _typed(stdin) if tty else stdin)
        self._watch(process)

    def _side_channels(self, theirs: contextlib.ExitStack) -> tuple[int, int]:
        asked, asking = os.pipe()
        theirs.callback(os.close, asked)
        self._pipes[REQUEST] = io.FileIO(asking, "w")
        answering, answered = os.pipe()
        theirs.callback(os.close, answered)
        self._pipes[ANSWER] = io.FileIO(answering)
        return asked, answered

    def _terminal(self, theirs: contextlib.ExitStack) -> int:
        """A terminal without echo: what is typed in may be a secret."""
        ours, terminal = os.openpty()
        theirs.callback(os.close, terminal)
        self._pipes[STDOUT] = io.FileIO(ours)
        self._pipes[STDIN] = io.FileIO(os.dup(ours), "w")
        settings = termios.tcgetattr(terminal)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSANOW, settings)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL_SIZE, 0, 0))
        return terminal

    def _send(self, channel: int, data: bytes) -> None:
        if channel in self._pipes:
            self._unsent[channel] = memoryview(data)
            self._loop.add_writer(self._pipes[channel], self._write, channel)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        for channel, pipe in self._pipes.items():
            os.set_blocking(pipe.fileno(), False)
            if channel not in _WRITTEN:
                self._loop.add_reader(pipe, self._read, channel)
        threading.Thread(target=self._wait, args=(process,), daemon=True).start()

    def kill(self) -> None:
        """Kill everything without further ado."""
        self._signal(signal.SIGUSR1)

    async def end(self) -> None:
        """Ask the program to end, kill what does not, and release everything."""
        if self._process is None:
            return
        try:
            if not self.has_exited.is_set():
                self._signal(signal.SIGTERM)
                await _within(GRACE_SECONDS + KEEPER_SECONDS, self.has_exited)
            if not self.has_exited.is_set():
                # Somebody has stopped the keeper.
                self._kill_all(self._process)
            self._read_on()
            await self.has_exited.wait()
            await _within(DRAIN_SECONDS, self._has_drained)
        finally:
            self._release(self._process)

    def _release(self, process: subprocess.Popen[bytes]) -> None:
        """Make sure that nothing is left; waits only if `end` was broken off."""
        if process.returncode is None:
            self.kill()
        if self._pause is not None:
            self._pause.cancel()
        for channel in list(self._pipes):
            self._close(channel)
        try:
            process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill_all(process)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._process.send_signal(number)

    def _kill_all(self, process: subprocess.Popen[bytes]) -> None:
        """Do the keeper's work, and kill it too."""
        for pid in [*descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread of its own: tell when the process has exited."""
        process.wait()
        with contextlib.suppress(RuntimeError):
            # A loop that is closed has nobody left to tell.
            self._loop.call_soon_threadsafe(self.has_exited.set)

    # --- reading and writing ----------------------------------------------------------------------

    def _read(self, channel: int) -> None:
        is_output = channel != ANSWER
        try:
            data = self._pipes[channel].read(_OUTPUT_CHUNK_BYTES if is_output else _CHUNK_BYTES)
        except OSError:
            data = b""  # A terminal whose last user has gone.
        if data:
            lines = self._take(channel, data)
            if is_output:
                self._charge(len(data) / _BYTES_PER_SECOND + lines / _LINES_PER_SECOND)
        elif data is not None:
            self._close(channel)

    def _charge(self, seconds: float) -> None:
        """Let a child that prints faster than it may wait, so that nobody else has to."""
        now = self._loop.time()
        self._paid_until = max(self._paid_until, now) + seconds
        ahead = self._paid_until - now
        if ahead > _BURST_SECONDS and self._pause is None and not self.has_exited.is_set():
            for channel in (STDOUT, STDERR):
                if channel in self._pipes:
                    self._loop.remove_reader(self._pipes[channel])
            self._pause = self._loop.call_later(ahead - _BURST_SECONDS / 2, self._read_on)

    def _read_on(self) -> None:
        if self._pause is None:
            return
        self._pause.cancel()
        self._pause = None
        for channel in (STDOUT, STDERR):
            if channel in self._pipes:
                self._loop.add_reader(self._pipes[channel], self._read, channel)

    def _write(self, channel: int) -> None:
        unsent = self._unsent[channel]
        try:
            # None: the pipe is full after all.
            sent = self._pipes[channel].write(unsent[:_CHUNK_BYTES]) or 0 if unsent else 0
            self._unsent[channel] = unsent = unsent[sent:]
        except OSError:
            unsent = memoryview(b"")
        if not unsent:
            self._close(channel)

    def _close(self, channel: int) -> None:
        pipe = self._pipes.pop(channel)
        if channel in _WRITTEN:
            self._loop.remove_writer(pipe)
        else:
            self._loop.remove_reader(pipe)
        pipe.close()
        if not self._pipes.keys() - set(_WRITTEN):
            self._has_drained.set()


def _typed(text: bytes) -> bytes:
    """As somebody would type it, who then says that there is no more, to everybody who asks."""
    is_begun = bool(text) and not text.endswith(b"\n")
    return text + _END_OF_INPUT * (_ENDS_OF_INPUT + is_begun)


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
