"""What became of a run, in values that can be compared with those of another implementation."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.reference.joins import Reason


@dataclass(frozen=True)
class NodeOutcome:
    """What became of one node."""

    status: Literal["COMPLETED", "FAILED", "MAXITER_REACHED", "SKIPPED", "PENDING"]
    """Of the last NodeRun; SKIPPED without any, PENDING if it was not even skipped."""
    reason: Reason | None
    """Why it was skipped last, if it is SKIPPED."""
    executed: int
    maxiter: int
    """How many NodeRuns were executed, and how many were not because of the limit."""
    inputs: tuple[dict[int, str], ...]
    """Of each executed occurrence: edge number → the value that came along it."""
    outputs: tuple[str | None, ...]
    """Of each executed occurrence; None where it failed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run; HANG means that nothing runs although something is still awaited."""

    nodes: tuple[NodeOutcome, ...]
    ended: Literal["OK", "HANG"]
    no_progress: bool
    """Some loop ended because nothing was executed in its last turn."""
    failed: bool
    """Some NodeRun failed, even if its node completed later."""


def output_value(name: str, occurrence: int, inputs: Mapping[int, str]) -> str:
    """Make the value every node outputs: it tells the NodeRun and differs where inputs differ."""
    return f"{name}#{occurrence}:{zlib.crc32(repr(sorted(inputs.items())).encode()):08x}"
