"""The mutation that keeps the state of a run as it is."""

from __future__ import annotations

from dipeo_server.api.calls import Call
from dipeo_server.api.context import Info
from dipeo_server.api.types.arguments import ExecutionArgument, Key
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.execution import Checkpoint, find_checkpoint
from dipeo_server.api.types.payloads import CheckpointPayload
from dipeo_server.api.types.problems import REFUSALS
from dipeo_server.domains.execution.events import CheckpointFailed, CheckpointSaved
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.runner import Accepted
from dipeo_server.domains.execution.signals import CheckpointRequested
from dipeo_server.errors import InvalidState, NotFound


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


async def _told(info: Info, accepted: Accepted) -> Checkpoint:
    """The checkpoint that the log tells of there. Raises InvalidState, NotFound."""
    about = accepted.execution_id
    events = await info.context.runner.read_events(about, after=Seq(accepted.sequence - 1), limit=1)
    event = events[0].event if events else None
    if isinstance(event, CheckpointFailed):
        raise InvalidState(f"No checkpoint could be taken: {event.message}")
    if isinstance(event, CheckpointSaved):
        found = await find_checkpoint(info.context, event.checkpoint_id)
        if found is not None:
            return found
    raise NotFound(f"The checkpoint of {about} at {accepted.sequence} is not there any more.")
