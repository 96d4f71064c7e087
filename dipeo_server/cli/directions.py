"""What a person can do about a run that was left waiting: the commands, ready to be copied."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from dipeo_server.cli.client import endpoint
from dipeo_server.cli.remote_options import DEFAULT_URL
from dipeo_server.cli.standing import Pause, Standing, WaitingBarrier
from dipeo_server.cli.terminal import prompt_text


@dataclass(frozen=True, slots=True)
class Place:
    """Where the run is kept: at a server's `url`, or in a `store` that nobody serves now."""

    file: str
    url: str | None
    store: str | None
    base_dir: str

    @property
    def is_kept(self) -> bool:
        """Is the run still there when this command has ended?"""
        return self.store not in {"memory:", "memory"}

    def command(self, *words: str) -> str:
        """A command of this program for the run's server, which need not be named always."""
        usual = os.environ.get("DIPEO_URL") or DEFAULT_URL
        url = self.url or DEFAULT_URL
        where = [] if endpoint(url) == usual else ["--url", url]
        return shlex.join(["dipeo-server", *words, *where])


def directions(standing: Standing, place: Place) -> Iterator[str]:
    """Lines that name every barrier and pause, and the commands that let the run go on."""
    for barrier in standing.barriers:
        question = "an answer" if barrier.wants_answer else "an approval"
        again = f", visit {barrier.occurrence}" if barrier.occurrence > 1 else ""
        yield f"Waiting for {question} at {barrier.key!r}{again}: {prompt_text(barrier)}"
        yield f"  in a new run:  {_in_a_new_run(barrier, place)}"
    for pause in standing.paused:
        yield f"{pause.execution_id} is paused{f' ({pause.cause})' if pause.cause else ''}."
    if place.is_kept:
        yield from _in_this_run(standing, place)


def _in_this_run(standing: Standing, place: Place) -> Iterator[str]:
    if place.store is not None:
        where = ["--store", place.store, "--base-dir", place.base_dir]
        command = shlex.join(["dipeo-server", "serve", "--auth", "none", *where])
        yield f"  to let this run go on, serve its store:  {command}"
    for barrier in standing.barriers:
        answer = ["--answer", "VALUE"] if barrier.wants_answer else []
        yield f"  in this run:   {place.command('approve', barrier.id, *answer)}"
        yield f"            or:  {place.command('reject', barrier.id, '--reason', 'WHY')}"
    for pause in standing.paused:
        yield f"  in this run:   {place.command('resume', pause.execution_id, *_more(pause))}"
        yield f"            or:  {place.command('step', pause.execution_id)}"
        yield f"            or:  {place.command('abort', pause.execution_id)}"


def _in_a_new_run(barrier: WaitingBarrier, place: Place) -> str:
    if barrier.type == "BARRIER":
        return shlex.join(["dipeo-server", "run", place.file, "--approve", "auto"])
    value = f"{barrier.key}={'VALUE' if barrier.wants_answer else 'approve'}"
    return shlex.join(["dipeo-server", "run", place.file, "--answer", value])


def _more(pause: Pause) -> list[str]:
    """Twice the limit that paused the run; with the same one it would be paused at once."""
    match pause.cause:
        case "max_steps":
            return ["--max-steps", str(2 * pause.max_steps)]
        case "max_tokens" if pause.max_tokens is not None:
            return ["--max-tokens", str(2 * max(pause.max_tokens, pause.tokens))]
        case "max_seconds" if pause.max_seconds is not None:
            return ["--max-time", f"{2 * pause.max_seconds:g}s"]
        case _:
            return []
