"""Images of graphs, drawn by `dot` of Graphviz in a child process with bounds on everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from graphviz.backend import dot_command

from dipeo_server.domains.diagram.rendering.renderer import (
    ImageFormat,
    PictureTooLarge,
    RendererMissing,
    RenderFailed,
)

PROGRAM: Final = "dot"
_TOLD_CHARACTERS_MAX: Final = 300
_TOLD_BYTES_MAX: Final = 64 * 1024

# Inches at 96 dots each: an image of more pixels is scaled down, so that it fits into memory.
_SIZES: Final[Mapping[ImageFormat, Sequence[str]]] = {
    ImageFormat.SVG: (),
    ImageFormat.PNG: ("-Gsize=60,60", "-Gdpi=96"),
}
# Where Graphviz and its fonts lie; of the rest of the environment it needs nothing.
_PASSED_ON: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "GVBINDIR", "FONTCONFIG_FILE")
# With SERVER_NAME it loads no files, whatever a graph names.
_OWN: Final[Mapping[str, str]] = {"SERVER_NAME": "dipeo-server", "LC_ALL": "C.UTF-8"}

_ELEMENT: Final = re.compile(rb"<([A-Za-z_][\w:.-]*)")
_REFERENCE: Final = re.compile(rb'<[^<>]*\b(?:href|src)="')
_ALLOWED: Final = frozenset(b"svg g title a text polygon polyline path ellipse".split())


@dataclass(frozen=True, slots=True)
class DrawingLimits:
    """What one image may take: seconds, bytes of the image, bytes of memory; how many at once."""

    seconds: float = 15.0
    image_bytes: int = 16 * 1024 * 1024
    memory_bytes: int = 1024 * 1024 * 1024
    at_once: int = 2


class GraphvizRenderer:
    """Draws with the program `dot`, which is looked for on the PATH whenever it is needed."""

    def __init__(self, limits: DrawingLimits | None = None, program: str = PROGRAM) -> None:
        self._limits = limits or DrawingLimits()
        self._program = program
        self._slots = asyncio.Semaphore(self._limits.at_once)

    async def draw(self, dot: str, format_: ImageFormat) -> bytes:
        """The image of a DOT graph, as `Renderer` describes it."""
        found = shutil.which(self._program)
        if found is None:
            raise RendererMissing(f"There is no program {self._program!r} on the PATH.")
        _, *options = dot_command.command("dot", format_.value)
        command = [found, *map(str, options), *_SIZES[format_]]
        async with self._slots:
            drawing = _Drawing(self._limits)
            try:
                image = await asyncio.to_thread(drawing.run, command, dot.encode())
            finally:
                drawing.stop()
        return _bare(image) if format_ is ImageFormat.SVG else image


class _Drawing:
    """One child process. `run` blocks its thread; `stop` ends it from any other."""

    def __init__(self, limits: DrawingLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._is_late = False

    def run(self, command: Sequence[str], text: bytes) -> bytes:
        """What the command writes. Raises PictureTooLarge, RenderFailed."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as told:
            given.write(text)
            given.seek(0)
            image, code = self._output(command, given, told)
            self._judge(image, code, told)
        return image

    def stop(self) -> None:
        """Kill it if it runs, and let it not begin if it does not."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None and self._process.poll() is None:
                # With whatever a wrapper around the program has started.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _output(
        self, command: Sequence[str], given: IO[bytes], told: IO[bytes]
    ) -> tuple[bytes, int]:
        timer = threading.Timer(self._limits.seconds, self._be_late)
        with self._start(command, given, told) as process:
            timer.start()
            try:
                assert process.stdout is not None
                image = process.stdout.read(self._limits.image_bytes + 1)
                if len(image) > self._limits.image_bytes:
                    self.stop()
            finally:
                timer.cancel()
        return image, process.returncode

    def _start(
        self, command: Sequence[str], given: IO[bytes], told: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_stopped:
                raise RenderFailed("Nobody wants the image any more.")
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=told,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as error:
                raise RenderFailed(f"Cannot start {command[0]}: {error.strerror}.") from error
        self._bound(self._process.pid)
        return self._process

    def _bound(self, pid: int) -> None:
        """Limit its memory; where the system cannot, the time limit has to do."""
        if hasattr(resource, "prlimit"):
            bounds = (self._limits.memory_bytes, self._limits.memory_bytes)
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_AS, bounds)

    def _be_late(self) -> None:
        self._is_late = True
        self.stop()

    def _judge(self, image: bytes, code: int, told: IO[bytes]) -> None:
        if self._is_late:
            message = f"The picture could not be drawn within {self._limits.seconds:g} s."
            raise PictureTooLarge(message)
        if len(image) > self._limits.image_bytes:
            message = f"The picture is larger than {self._limits.image_bytes} bytes."
            raise PictureTooLarge(message)
        if code != 0:
            told.seek(0)
            words = told.read(_TOLD_BYTES_MAX).decode(errors="replace").split()
            reason = " ".join(words)[:_TOLD_CHARACTERS_MAX] or f"exit code {code}"
            raise RenderFailed(f"Graphviz gave no image: {reason}")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, **_OWN}


def _bare(image: bytes) -> bytes:
    """The `svg` element without what stands before it. Raises RenderFailed for a strange one."""
    _, start, rest = image.partition(b"<svg")
    element = start + rest
    strange = set(_ELEMENT.findall(element)) - _ALLOWED
    if not element or strange or _REFERENCE.search(element):
        names = ", ".join(sorted(name.decode() for name in strange)) or "a reference, or nothing"
        raise RenderFailed(f"Graphviz gave an image that is not safe to show: {names}.")
    return element
