"""The mutations that keep the state of a run as it is, and that forget such states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api.calls import Call
from dipeo_server.api.context import Info
from dipeo_server.api.types.arguments import ExecutionArgument, Key
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.execution import Checkpoint, find_checkpoint
from dipeo_server.api.types.payloads import CheckpointPayload, DeleteCheckpointsPayload
from dipeo_server.api.types.problems import REFUSALS
from dipeo_server.domains.execution.checkpoint import place_of
from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice
from dipeo_server.domains.execution.events import CheckpointFailed, Recorded
from dipeo_server.domains.execution.history import checkpoint_told
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.runner import Accepted
from dipeo_server.domains.execution.signals import CheckpointRequested
from dipeo_server.errors import InvalidInput, InvalidState, NotFound

Ids: TypeAlias = Annotated[
    list[strawberry.ID] | None, strawberry.argument(description="Those; null = see `keep`.")
]
Keep: TypeAlias = Annotated[
    int | None, strawberry.argument(description="All but so many, the newest ones; null = all.")
]


@object_type
class CheckpointMutation:
    """Everything that makes checkpoints."""

    @mutation
    async def save_checkpoint(
        self, info: Info, execution_id: ExecutionArgument, idempotency_key: Key = None
    ) -> CheckpointPayload:
        """Keep the state of a run as it is now, whatever its policy says.

        Where nothing has happened since the last checkpoint it is that one.
        """
        arguments = {"executionId": execution_id}
        call = Call(info, "saveCheckpoint", arguments, idempotency_key, execution_id)
        try:
            accepted = await call.tell(CheckpointRequested(info.context.principal))
            return CheckpointPayload(checkpoint=await _told(info, accepted))
        except REFUSALS as refusal:
            return CheckpointPayload(errors=[await call.problem(refusal)])

    @mutation
    async def delete_checkpoints(
        self,
        info: Info,
        execution_id: ExecutionArgument,
        ids: Ids = None,
        keep: Keep = None,
        idempotency_key: Key = None,
    ) -> DeleteCheckpointsPayload:
        """Delete checkpoints of a run: those with these ids, or all but the newest ones.

        Nothing changes by it but how long it takes to come back to a long log. To delete what is
        deleted already is no error, and deletes nothing.
        """
        arguments = {"executionId": execution_id, "ids": ids, "keep": keep}
        call = Call(info, "deleteCheckpoints", arguments, idempotency_key, execution_id)
        try:
            run = ExecutionID(execution_id)
            choice = _choice(run, ids, keep)
            accepted = await info.context.runner.delete_checkpoints(run, choice, call.key())
        except REFUSALS as refusal:
            return DeleteCheckpointsPayload(errors=[await call.problem(refusal)])
        return DeleteCheckpointsPayload(deleted_count=accepted.deleted)


def _choice(
    run: ExecutionID, ids: Sequence[strawberry.ID] | None, keep: int | None
) -> CheckpointChoice:
    """Which ones are deleted. Raises InvalidInput, NotFound."""
    if ids is None:
        return CheckpointChoice(keep=_checked(keep))
    if keep is not None:
        message = "Either `ids` or `keep` says which ones are deleted."
        raise InvalidInput(message, field=("keep",))
    return CheckpointChoice(tuple(_place(run, id_) for id_ in ids))


def _checked(keep: int | None) -> int:
    if keep is not None and keep < 0:
        raise InvalidInput("`keep` is at least 0.", field=("keep",))
    return keep or 0


def _place(run: ExecutionID, id_: str) -> Seq:
    """The sequence of a run's checkpoint. Raises NotFound."""
    place = place_of(id_)
    if place is None or place[0] != run:
        raise NotFound(f"{id_!r} is no checkpoint of {run}.")
    return place[1]


async def _told(info: Info, accepted: Accepted) -> Checkpoint:
    """The checkpoint that the log tells of there. Raises InvalidState, NotFound."""
    about = accepted.execution_id

    async def read(after: Seq, limit: int) -> Sequence[Recorded]:
        return await info.context.runner.read_events(about, after=after, limit=limit)

    event = await checkpoint_told(read, accepted.sequence)
    if isinstance(event, CheckpointFailed):
        raise InvalidState(f"No checkpoint could be taken: {event.message}")
    if event is not None:
        found = await find_checkpoint(info.context, event.checkpoint_id)
        if found is not None:
            return found
    raise NotFound(f"The checkpoint of {about} at {accepted.sequence} is not there any more.")
