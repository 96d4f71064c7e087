"""Whose events make up the log of a fork: those of its origins, then its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SEQ_MAX: Final = 2**62


@dataclass(frozen=True, slots=True)
class Stretch:
    """The events `first` to `last` of a log are those that this execution has of its own."""

    execution_id: str
    first: int
    last: int


Lineage = tuple[Stretch, ...]
"""The stretches of one log, in order; of what is no fork there is one, without end."""


def lineage_of(rows: Sequence[sqlite3.Row] | Sequence[tuple[int, str, int]]) -> Lineage:
    """The lineage that the query `lineage` tells; empty for an execution that is not there."""
    found: list[Stretch] = []
    last = SEQ_MAX
    for _, execution_id, begins in sorted(rows, key=lambda row: row[0]):
        if begins < last:
            found.append(Stretch(execution_id, begins + 1, last))
            last = begins
    return tuple(reversed(found))
