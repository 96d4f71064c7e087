"""What a person can do about a run that was left waiting: the commands, ready to be copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from dipeo_server.cli.standing import Standing, WaitingBarrier
from dipeo_server.cli.terminal import prompt_text

DEFAULT_URL = "http://127.0.0.1:8000/graphql"


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


def directions(standing: Standing, place: Place) -> Iterator[str]:
    """Lines that name every barrier and pause, and the commands that let the run go on."""
    for barrier in standing.barriers:
        question = "an answer" if barrier.wants_answer else "an approval"
        again = f", visit {barrier.occurrence}" if barrier.occurrence > 1 else ""
        yield f"Waiting for {question} at {barrier.key!r}{again}: {prompt_text(barrier)}"
        yield f"  in a new run:  {_in_a_new_run(barrier, place)}"
    for execution_id in standing.paused:
        yield f"{execution_id} is paused."
    if place.is_kept:
        yield from _in_this_run(standing, place)


def _in_this_run(standing: Standing, place: Place) -> Iterator[str]:
    if place.store is not None:
        command = ["dipeo-server", "serve", "--store", place.store, "--base-dir", place.base_dir]
        yield f"  to let this run go on, serve its store:  {shlex.join(command)}"
    for barrier in standing.barriers:
        yield f"  in this run:  {_post(_approving(barrier), place)}"
    for execution_id in standing.paused:
        yield f"  in this run:  {_post(_resuming(execution_id), place)}"


_ERRORS = "{ errors { message } }"


def _in_a_new_run(barrier: WaitingBarrier, place: Place) -> str:
    if barrier.type == "BARRIER":
        return shlex.join(["dipeo-server", "run", place.file, "--approve", "auto"])
    value = f"{barrier.key}={'VALUE' if barrier.wants_answer else 'approve'}"
    return shlex.join(["dipeo-server", "run", place.file, "--answer", value])


def _resuming(execution_id: str) -> str:
    return (
        f"mutation {{ resumeExecution(id: {json.dumps(execution_id)}, maxSteps: 10000) {_ERRORS} }}"
    )


def _approving(barrier: WaitingBarrier) -> str:
    answer = ', answer: "VALUE"' if barrier.wants_answer else ""
    return f"mutation {{ approveBarrier(id: {json.dumps(barrier.id)}{answer}) {_ERRORS} }}"


def _post(document: str, place: Place) -> str:
    url = place.url or DEFAULT_URL
    body = json.dumps({"query": document})
    return shlex.join(["curl", "-s", url, "-H", "content-type: application/json", "-d", body])
