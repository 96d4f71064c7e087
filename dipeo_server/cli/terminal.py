"""Asking a person on the terminal; whoever waits for the answer can be cancelled."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.cli.assignments import value_of
from dipeo_server.cli.outcome import tell
from dipeo_server.cli.progress import Progress
from dipeo_server.cli.standing import WaitingBarrier

LINE_BYTES_MAX: Final = 64 * 1024
_YES: Final = {"y", "yes", "a", "approve"}
_NO: Final = {"n", "no", "r", "reject"}


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer was given; it may be any JSON value, also null."""

    value: Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """A yes or a no, with what goes with it."""

    is_approved: bool
    reason: str | None = None
    answer: Any = None


def somebody_is_there() -> bool:
    """Can a person be asked? Questions go to standard error, answers come from standard input."""
    return sys.stdin.isatty() and sys.stderr.isatty()


class Asker:
    """Asks one question at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._turn = asyncio.Lock()

    async def answer(self, barrier: WaitingBarrier) -> Answered | None:
        """What the person answers; None where they leave it (Ctrl-D)."""
        async with self._turn:
            with self._progress.stepped_aside():
                tell(_heading(barrier))
                line = await self._line("> ")
        return None if line is None else Answered(_typed(line, barrier))

    async def approval(self, barrier: WaitingBarrier) -> Verdict | None:
        """What the person decides; None where they leave it."""
        async with self._turn:
            with self._progress.stepped_aside():
                tell(_heading(barrier))
                return await self._verdict(barrier)

    async def _verdict(self, barrier: WaitingBarrier) -> Verdict | None:
        while (line := await self._line("Approve? [y]es, [n]o, [l]eave it waiting: ")) is not None:
            word = line.strip().lower()
            if word in _NO:
                return Verdict(is_approved=False, reason=await self._line("Why not? "))
            if word in _YES and barrier.answer_schema is None:
                return Verdict(is_approved=True)
            if word in _YES:
                answer = await self._line("Your answer: ")
                return None if answer is None else _approved_with(answer)
            if word in {"l", "leave"}:
                return None
        return None

    async def _line(self, prompt: str) -> str | None:
        """A line without its end; None at the end of the input."""
        sys.stderr.write(prompt)
        sys.stderr.flush()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[bytes] = loop.create_future()
        descriptor = sys.stdin.fileno()
        # A terminal gives whole lines, and nothing must stay behind in a buffer of ours.
        loop.add_reader(descriptor, _read_once, descriptor, arrived)
        try:
            data = await arrived
        finally:
            loop.remove_reader(descriptor)
        return data.decode(errors="replace").rstrip("\r\n") if data else None


def _approved_with(answer: str) -> Verdict:
    return Verdict(is_approved=True, answer=value_of(answer))


def _read_once(descriptor: int, arrived: asyncio.Future[bytes]) -> None:
    if not arrived.done():
        try:
            arrived.set_result(os.read(descriptor, LINE_BYTES_MAX))
        except OSError:
            arrived.set_result(b"")  # The terminal is gone.


def _heading(barrier: WaitingBarrier) -> str:
    again = f" #{barrier.occurrence}" if barrier.occurrence > 1 else ""
    return f"\n{barrier.label}{again}: {prompt_text(barrier)}"


def prompt_text(barrier: WaitingBarrier) -> str:
    """What a barrier asks, as text."""
    prompt = barrier.prompt
    if prompt is None:
        return "waiting for a decision"
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def _typed(line: str, barrier: WaitingBarrier) -> Any:
    """People type text; only where a schema describes the answer may it be other JSON."""
    return line if barrier.answer_schema is None else value_of(line)
