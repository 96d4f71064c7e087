"""The mutations of the schema: running a diagram, and what the other modules of mutations have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api.approving import check_results
from dipeo_server.api.barrier_mutation import BarrierMutation
from dipeo_server.api.calls import Call
from dipeo_server.api.checkpoint_mutation import CheckpointMutation
from dipeo_server.api.context import Info
from dipeo_server.api.control_mutation import ControlMutation
from dipeo_server.api.deletion_mutation import DeletionMutation
from dipeo_server.api.diagram_mutation import DiagramMutation
from dipeo_server.api.fork_mutation import ForkMutation
from dipeo_server.api.graph_changing import GraphMutations
from dipeo_server.api.sources import Source, resolve
from dipeo_server.api.token_mutation import TokenMutation
from dipeo_server.api.types.arguments import Key
from dipeo_server.api.types.checkpoints import policy_from, settings_from
from dipeo_server.api.types.control_inputs import breakpoints_of, budget_of, initial_of
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.inputs import RunDiagramInput, variables_of
from dipeo_server.api.types.payloads import ExecutionPayload
from dipeo_server.domains.execution.events import Durability, ErrorStrategy
from dipeo_server.domains.execution.runner import Accepted, StartExecution
from dipeo_server.errors import InvalidInput

_INPUT = ("input",)
_INITIAL = "Mutation.runDiagram(input.initialState)"

RunInput: TypeAlias = Annotated[
    RunDiagramInput, strawberry.argument(description="What to run, and how.")
]


@object_type
class Mutation(
    DiagramMutation,
    ControlMutation,
    BarrierMutation,
    ForkMutation,
    CheckpointMutation,
    GraphMutations,
    DeletionMutation,
    TokenMutation,
):
    """Everything that changes something.

    A refusal is an answer: see `errors` of each payload.
    """

    @mutation
    async def run_diagram(
        self, info: Info, input: RunInput, idempotency_key: Key = None
    ) -> ExecutionPayload:
        """Run a diagram. Answers as soon as the run is accepted for good; subscribe to follow."""
        call = Call(info, "runDiagram", {"input": input}, idempotency_key)

        async def start() -> Accepted:
            key = call.key()
            # What it named may have moved on, or been archived, since it was answered.
            known = await info.context.runner.answered(key)
            if known is not None:
                return known
            source = await resolve(input.source, info.context)
            try:
                request = _request(input, source, info.context.principal)
                given = request.initial
                await check_results(info.context, _INITIAL, source.diagram, given)
                return await info.context.runner.start(request, key)
            except InvalidInput as problem:
                if problem.field and problem.field[0] != "input":
                    problem.field = (*_INPUT, *problem.field)
                raise

        return await call.payload(start)


def _request(given: RunDiagramInput, source: Source, principal: str) -> StartExecution:
    """The wish to run the source. Raises InvalidInput."""
    diagram = source.diagram
    breakpoints = given.breakpoints or ()
    return StartExecution(
        diagram,
        diagram_id=source.diagram_id,
        revision=source.revision,
        variables=variables_of(given.variables, (*_INPUT, "variables")),
        max_steps=given.max_steps,
        error_strategy=given.error_strategy or ErrorStrategy.FAIL_FAST,
        durability=given.durability or Durability.ADAPTIVE,
        actor=principal,
        is_paused=bool(given.start_paused),
        breakpoints=breakpoints_of(breakpoints, diagram, (*_INPUT, "breakpoints")),
        budget=budget_of(given.max_tokens, given.max_time, _INPUT),
        checkpoints=policy_from(given.checkpoint_policy),
        checkpointing=settings_from(given.checkpoint_failure),
        initial=initial_of(given.initial_state, diagram, (*_INPUT, "initialState")),
    )
