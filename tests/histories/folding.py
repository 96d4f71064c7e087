"""Frozen histories read and folded; run as a program it prints what each of them comes to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.machine.evolve import begin, evolve
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.storage.codec import EventCodec, stamp, unstamp

FOLDER: Final = Path(__file__).parent
LOGS: Final = FOLDER / "logs"
RECORDED: Final = FOLDER / "hashes.json"

# What is no part of the state: a note for the runner.
NO_STATE: Final = frozenset({"touched"})

ADDED_LATER: Final[frozenset[str]] = frozenset()
"""Fields of the state that came after the first histories, where old logs fold to other than the
default of the field."""


@cache
def _codec() -> EventCodec:
    return EventCodec()


def write(file: Path, log: Iterable[Recorded]) -> None:
    """Freeze a log; a file that is there stays as it is. Raises FileExistsError."""
    codec = _codec()
    lines = [
        json.dumps(
            {
                "seq": each.seq,
                "at": stamp(each.at),
                "kind": each.event.kind,
                "version": codec.version_of(each.event.kind),
                "event": json.loads(codec.encode(each.event)),
            },
            ensure_ascii=False,
        )
        for each in log
    ]
    with file.open("x", encoding="utf-8") as opened:
        opened.write("\n".join([*lines, ""]))


def read(file: Path) -> list[Recorded]:
    """A frozen log."""
    codec = _codec()
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        payload = json.dumps(entry["event"]).encode()
        event = codec.decode(entry["kind"], payload, entry["version"])
        found.append(Recorded(Seq(entry["seq"]), unstamp(entry["at"]), event))
    return found


def summary(log: Iterable[Recorded]) -> dict[str, Any]:
    """How a log ends, the hash of its state, and a hash over the states behind every event."""
    state: ExecutionState | None = None
    every = hashlib.sha256()
    last = ""
    for recorded in log:
        state = begin(recorded) if state is None else evolve(state, recorded)
        last = state_hash(state)
        every.update(last.encode())
    assert state is not None
    return {
        "events": state.last_seq,
        "status": state.status.value,
        "state": last,
        "every": every.hexdigest(),
    }


def state_hash(state: ExecutionState) -> str:
    """The hash of a state as canonical JSON."""
    text = json.dumps(canonical(state), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: Any) -> Any:
    """A value as plain JSON, in one way only; fields at their defaults are left out."""
    match value:
        case ExecutableDiagram():
            return value.content_hash
        case Enum():
            return [type(value).__name__, value.name]
        case datetime():
            return stamp(value)
        case Mapping():
            pairs = [[canonical(key), canonical(each)] for key, each in value.items()]
            return {"map": sorted(pairs, key=json.dumps)}
        case AbstractSet():
            return {"set": sorted((canonical(each) for each in value), key=json.dumps)}
        case list() | tuple():
            return [canonical(each) for each in value]
        case _ if is_dataclass(value):
            return {
                each.name: canonical(getattr(value, each.name))
                for each in fields(value)
                if not _is_left_out(value, each)
            }
        case _:
            return value


def _is_left_out(value: Any, field: Field[Any]) -> bool:
    if not field.compare or field.name in NO_STATE | ADDED_LATER:
        return True
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    is_default: bool = default is not MISSING and getattr(value, field.name) == default
    return is_default


def summaries() -> dict[str, dict[str, Any]]:
    """What every frozen history comes to, by name."""
    return {file.stem: summary(read(file)) for file in sorted(LOGS.glob("*.jsonl"))}


if __name__ == "__main__":
    print(json.dumps(summaries(), indent=2))
