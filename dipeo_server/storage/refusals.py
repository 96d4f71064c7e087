"""What every store checks and refuses alike: logs without gaps, cursors that exist."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import ExecutionSummary
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import (
    ConcurrentAppend,
    IdempotencyMismatch,
    InvalidInput,
    InvalidState,
    NotFound,
    StorageError,
)


def check_append(
    execution_id: ExecutionID, events: Sequence[Recorded], after: Seq, summary: ExecutionSummary
) -> None:
    """Do the events follow `after` one by one, and does the row agree? Raises StorageError."""
    place = int(after)
    for recorded in events:
        place += 1
        if recorded.seq != place:
            message = f"Event {recorded.seq} of {execution_id} came where {place} is due."
            raise StorageError(message)
    if summary.last_seq != place or summary.id != execution_id:
        row = f"the row of {summary.id} ends at {summary.last_seq}"
        raise StorageError(f"The log of {execution_id} would end at {place}, but {row}.")


def not_the_tail(execution_id: ExecutionID, tail: int, after: Seq) -> ConcurrentAppend:
    """The refusal of an append that does not begin where the log ends."""
    return ConcurrentAppend(f"The log of {execution_id} ends at {tail}, not at {after}.")


def no_origin(execution_id: str, fork_of: str, forked_at: int) -> StorageError:
    """The refusal of a fork that would go on from an event that is not there."""
    message = f"{fork_of} has no event {forked_at} that {execution_id} could go on from."
    return StorageError(message)


def no_checkpoint(execution_id: str, at: int) -> NotFound:
    """The refusal of a checkpoint that is not there."""
    return NotFound(f"There is no checkpoint of {execution_id} at {at}.")


def in_use(key: str) -> IdempotencyMismatch:
    """The refusal of an idempotency key that has an answer already."""
    return IdempotencyMismatch(f"The idempotency key {key!r} is in use already.")


@dataclass(frozen=True, slots=True)
class Kin:
    """An execution of a family that is to be deleted; `parent` runs it as a sub-diagram."""

    id: str
    status: ExecutionStatus
    parent: str | None


def check_deletable(execution_id: str, family: Sequence[Kin], forks: Collection[str]) -> None:
    """May the execution go, with all below it? `forks` are those of any of the family.

    Raises NotFound, InvalidState.
    """
    if not family:
        raise NotFound(f"There is no execution {execution_id!r}.")
    root = family[0]
    if root.parent is not None:
        message = f"{execution_id} is the run of a sub-diagram of {root.parent}."
        raise InvalidState(message, hint="Delete that one: what ran below it goes with it.")
    for kin in family:
        if not kin.status.is_terminal:
            message = f"Execution {kin.id} has not ended: it is {kin.status}."
            raise InvalidState(message, hint="Abort it first, or wait for its end.")
    kept = sorted(set(forks) - {kin.id for kin in family})
    if kept:
        more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
        message = f"Forks go on from {execution_id}: {', '.join(kept[:3])}{more}."
        raise InvalidState(message, hint="Delete the forks first: they share its events.")


def not_in_the_list(cursor: str, field: str, *, of: str = "an execution") -> InvalidInput:
    """The refusal of a cursor that stands for nothing."""
    message = f"`{field}` is the cursor of {of} that does not exist: {cursor!r}."
    hint = "Take a cursor from a page of this list."
    return InvalidInput(message, field=(field,), hint=hint)


def closed() -> StorageError:
    """The refusal of everything once the store is closed."""
    return StorageError("The store is closed.")
