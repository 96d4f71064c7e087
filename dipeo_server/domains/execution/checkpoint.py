"""Checkpoints: a cached fold of a log at a sequence, when one is taken, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from dipeo_server.domains.execution.ids import ExecutionID, Seq

COMPLETE: Final = "__complete__"
"""The next node of a run that has none any more."""

_PREFIX: Final = "checkpoint_"


class CheckpointTrigger(StrEnum):
    """What a checkpoint is taken for.

    ADAPTIVE: as soon as much would have to be done again, by time, tokens and effects.
    """

    ON_REQUEST = "ON_REQUEST"
    BARRIER_RESOLVED = "BARRIER_RESOLVED"
    HUMAN_DECISION = "HUMAN_DECISION"
    ADAPTIVE = "ADAPTIVE"
    EVERY_STEP = "EVERY_STEP"
    EXECUTION_COMPLETED = "EXECUTION_COMPLETED"


class CheckpointPreset(StrEnum):
    """A usual set of triggers; somebody may ask for a checkpoint whatever the set is."""

    CONSERVATIVE = "CONSERVATIVE"
    MINIMAL = "MINIMAL"
    MANUAL = "MANUAL"


class CheckpointFailurePolicy(StrEnum):
    """What a checkpoint that could not be taken does to its run.

    PAUSE holds it, FAIL counts as a failure that nothing handles.
    """

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    FAIL = "FAIL"


CheckpointPolicy: TypeAlias = tuple[CheckpointTrigger, ...]
"""The triggers that take checkpoints, each once, in the order of their declaration."""

PRESETS: Final[Mapping[CheckpointPreset, CheckpointPolicy]] = {
    CheckpointPreset.CONSERVATIVE: (
        CheckpointTrigger.BARRIER_RESOLVED,
        CheckpointTrigger.HUMAN_DECISION,
        CheckpointTrigger.EXECUTION_COMPLETED,
    ),
    CheckpointPreset.MINIMAL: (
        CheckpointTrigger.BARRIER_RESOLVED,
        CheckpointTrigger.EXECUTION_COMPLETED,
    ),
    CheckpointPreset.MANUAL: (CheckpointTrigger.ON_REQUEST,),
}


DELTAS_MAX: Final = 20
"""Behind so many differences the next checkpoint is a whole one."""

SIZE_MAX: Final = 64 * 1024 * 1024
"""Bytes of a whole state: what is larger is folded from the log, which has it anyway."""


@dataclass(frozen=True, slots=True)
class CheckpointScore:
    """What ADAPTIVE weighs: it takes a checkpoint as soon as what a run did weighs `threshold`."""

    per_millisecond: float = 1.0
    per_thousand_tokens: float = 1_000.0
    per_effect: float = 10_000.0
    threshold: float = 100.0


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """How a run takes checkpoints, whatever its policy is.

    At most `deltas_max` differences go on from a whole state before the next whole one. A state of
    more than `size_max` bytes is not kept; `on_failure` says what becomes of the run then.
    """

    score: CheckpointScore = CheckpointScore()
    deltas_max: int = DELTAS_MAX
    on_failure: CheckpointFailurePolicy = CheckpointFailurePolicy.CONTINUE
    size_max: int = SIZE_MAX


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The state behind the event `at` is kept; its rows are committed with this event.

    `size_bytes` is what it takes, `content_hash` that of the whole state, `next_node` the key
    of what comes next.
    """

    checkpoint_id: str
    at: Seq
    trigger: CheckpointTrigger
    size_bytes: int
    content_hash: str
    next_node: str | None = None
    kind: Literal["checkpoint_saved"] = "checkpoint_saved"


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """No checkpoint could be taken; its settings say what becomes of the run."""

    trigger: CheckpointTrigger
    message: str
    kind: Literal["checkpoint_failed"] = "checkpoint_failed"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of a checkpoint without reading it.

    `graph_hash` is that of the diagram, `next_node` the key of what runs, waits or comes next,
    COMPLETE behind the last one. It is whole by itself if `base` is `at`; else it is a difference
    to the one before it, and so on back to the whole one at `base`.
    """

    id: str
    execution_id: ExecutionID
    at: Seq
    base: Seq
    trigger: CheckpointTrigger
    created_at: datetime
    graph_hash: str
    content_hash: str
    next_node: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TakenCheckpoint:
    """A checkpoint to be stored: the whole state or the difference, as JSON."""

    checkpoint: Checkpoint
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint with what makes it up: the whole one at its base, and every difference since."""

    checkpoint: Checkpoint
    parts: tuple[bytes, ...]


def checkpoint_id(execution_id: ExecutionID, at: Seq) -> str:
    """The id of an execution's checkpoint at that sequence."""
    return f"{_PREFIX}{execution_id}_{at}"


def is_checkpoint_id(text: str) -> bool:
    """Could it be the id of a checkpoint?"""
    return text.startswith(_PREFIX)


def place_of(checkpoint: str) -> tuple[ExecutionID, Seq] | None:
    """The execution and the sequence that an id names; None if it is none of a checkpoint."""
    execution_id, _, at = checkpoint.removeprefix(_PREFIX).rpartition("_")
    is_one = checkpoint.startswith(_PREFIX) and execution_id and at.isascii() and at.isdecimal()
    return (ExecutionID(execution_id), Seq(int(at))) if is_one and len(at) < 19 else None


def policy_of(triggers: frozenset[CheckpointTrigger]) -> CheckpointPolicy:
    """The triggers in the order of their declaration."""
    return tuple(each for each in CheckpointTrigger if each in triggers)
