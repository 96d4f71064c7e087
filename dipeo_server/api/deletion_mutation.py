"""The mutation that deletes a run."""

from __future__ import annotations

import strawberry

from dipeo_server.api.calls import Call
from dipeo_server.api.context import Info
from dipeo_server.api.types.arguments import ExecutionArgument, Key
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.payloads import DeletePayload
from dipeo_server.api.types.problems import REFUSALS
from dipeo_server.domains.execution.ids import ExecutionID


@object_type
class DeletionMutation:
    """Everything that deletes something."""

    @mutation
    async def delete_execution(
        self, info: Info, id: ExecutionArgument, idempotency_key: Key = None
    ) -> DeletePayload:
        """Delete a run that has ended, for good: events, lines, checkpoints, and the runs below.

        A run that others were forked from goes only when those have gone. Whoever repeats an
        earlier mutation of it by its key still does nothing again.
        """
        call = Call(info, "deleteExecution", {"id": id}, idempotency_key, id)
        try:
            accepted = await info.context.runner.delete(ExecutionID(id), call.key())
        except REFUSALS as refusal:
            return DeletePayload(errors=[await call.problem(refusal)])
        info.context.views.forget(accepted.execution_id)
        return DeletePayload(deleted_id=strawberry.ID(accepted.execution_id))
