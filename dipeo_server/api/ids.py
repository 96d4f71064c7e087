"""Opaque ids of the parts of executions and diagrams; their own ids are as they are.

`<prefix>_<base64url of owner, occurrence (and attempt), node>`: reversible, so nothing has to be
stored.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dipeo_server.domains.execution.ids import BarrierID, DiagramID, ExecutionID

EXECUTION_PREFIX: Final = "exec_"
DIAGRAM_PREFIX: Final = "diagram_"
REVISIONS_MAX: Final = 2**31 - 1
_SEPARATOR: Final = "\0"


class Kind(StrEnum):
    """What an id is of; the value is the prefix."""

    BARRIER = "barrier"
    DECISION = "decision"
    ENVELOPE = "envelope"
    REVISION = "revision"


@dataclass(frozen=True, slots=True)
class PartID:
    """A part of one execution (a barrier, an envelope, a decision), or a revision of a diagram.

    `occurrence`, `attempt` and `node` are of the visit. Of a decision ahead of time `node` is its
    own id in the execution, and the rest is not set. Of a revision `occurrence` is the number
    and `node` is empty; its owner is a stored diagram, or the execution of an inline one (then
    the number is 0).
    """

    kind: Kind
    owner: ExecutionID | DiagramID
    node: str = ""
    occurrence: int = 0
    attempt: int = 1

    @property
    def execution_id(self) -> ExecutionID:
        """The execution that it is a part of."""
        return ExecutionID(self.owner)

    @property
    def stored_revision(self) -> tuple[DiagramID, int] | None:
        """The stored diagram and the number; None for anything else."""
        if self.kind is not Kind.REVISION or self.node or not is_diagram_id(self.owner):
            return None
        # Anybody can make up an id; numbers of revisions are what GraphQL calls Int.
        if not 1 <= self.occurrence <= REVISIONS_MAX:
            return None
        return DiagramID(self.owner), self.occurrence

    @property
    def barrier(self) -> BarrierID:
        """Where the person is asked."""
        return BarrierID(self.node, self.occurrence, self.attempt)

    def encode(self) -> str:
        """The id as clients see it."""
        attempt = "" if self.attempt == 1 else f".{self.attempt}"
        text = _SEPARATOR.join([self.owner, f"{self.occurrence}{attempt}", self.node])
        packed = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        return f"{self.kind}_{packed}"


def decode(text: str) -> PartID | None:
    """What `encode` made the id from; None where no such id can exist."""
    prefix, _, packed = text.partition("_")
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        owner, visit, node = raw.decode().split(_SEPARATOR, 2)
        occurrence, _, attempt = visit.partition(".")
        found = PartID(Kind(prefix), ExecutionID(owner), node, int(occurrence), int(attempt or 1))
    except (ValueError, binascii.Error):
        return None
    return found if found.encode() == text else None


def is_execution_id(text: str) -> bool:
    """Could it be the id of an execution?"""
    return text.startswith(EXECUTION_PREFIX)


def is_diagram_id(text: str) -> bool:
    """Could it be the id of a stored diagram?"""
    return text.startswith(DIAGRAM_PREFIX)
