"""The mutation that lets another run go on from where one was."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.approving import check_results, require_argument
from dipeo_server.api.calls import Call
from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.graph_changing import compiled
from dipeo_server.api.past import check_sequence, folded
from dipeo_server.api.types.arguments import ExecutionArgument, Key
from dipeo_server.api.types.described import input_type, mutation, object_type
from dipeo_server.api.types.graph_inputs import GraphMutationInput
from dipeo_server.api.types.inputs import variables_of
from dipeo_server.api.types.payloads import ExecutionPayload
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.runner import Accepted, ForkExecution
from dipeo_server.errors import InvalidInput, NotFound

_OVERRIDES = ("overrides",)
_OUTPUTS = "Mutation.forkExecution(overrides.outputs)"


@input_type
class ForkOverrides:
    """What is different in a fork."""

    variables: JSON | None = strawberry.field(
        default=None, description="An object: variables to set before it goes on."
    )
    outputs: JSON | None = strawberry.field(
        default=None,
        description=(
            "An object: results by node key. Of a node that has one it takes the place of that, "
            "wherever it was not used yet; else it is taken when the node is reached."
        ),
    )
    mutations: list[GraphMutationInput] | None = strawberry.field(
        default=None,
        description="Changes of the graph that was run there, as `mutateGraph` makes them.",
    )


AtSequence: TypeAlias = Annotated[
    Seq, strawberry.argument(description="The last event that the fork shares with the run.")
]
Overrides: TypeAlias = Annotated[
    ForkOverrides | None, strawberry.argument(description="What is different in the fork.")
]
StartPaused: TypeAlias = Annotated[
    bool | None, strawberry.argument(description="Hold the fork before anything runs?")
]


@object_type
class ForkMutation:
    """Everything that makes a run of another one."""

    @mutation
    async def fork_execution(
        self,
        info: Info,
        id: ExecutionArgument,
        at_sequence: AtSequence,
        overrides: Overrides = None,
        start_paused: StartPaused = False,  # noqa: FBT002 - an argument of the API.
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Go on as another run from where one was behind an event; that one does not change.

        What ran then runs again, what waited waits again. A run that has ended can be forked at
        any event before it began to end.
        """
        arguments = {
            "id": id,
            "atSequence": at_sequence,
            "overrides": overrides,
            "startPaused": start_paused,
        }
        call = Call(info, "forkExecution", arguments, idempotency_key, id)

        async def fork() -> Accepted:
            given = overrides or ForkOverrides()
            known = await info.context.runner.answered(call.key())
            if known is not None:
                return known
            changes = "Mutation.forkExecution(overrides.mutations)"
            require_argument(info.context, changes, is_given=bool(given.mutations))
            diagram = await _diagram_of(info.context, ExecutionID(id), at_sequence, given)
            wish = ForkExecution(
                ExecutionID(id),
                at_sequence,
                variables=variables_of(given.variables, (*_OVERRIDES, "variables")),
                outputs=_outputs_of(given.outputs),
                is_paused=bool(start_paused),
                actor=info.context.principal,
                diagram=diagram,
            )
            if wish.outputs:
                # Results are taken before the graph changes, so what was a barrier then counts.
                shown = await _shown_at(info.context, ExecutionID(id), at_sequence)
                await check_results(info.context, _OUTPUTS, shown, wish.outputs)
                await check_results(info.context, _OUTPUTS, diagram or shown, wish.outputs)
            return await info.context.runner.fork(wish, call.key())

        return await call.payload(fork)


async def _diagram_of(
    context: OperationContext, origin: ExecutionID, at: Seq, given: ForkOverrides
) -> ExecutableDiagram | None:
    """The graph that the fork goes on with, if it is another one.

    Raises NotFound, InvalidInput, DiagramInvalid, LimitExceeded.
    """
    if not given.mutations:
        return None
    field = (*_OVERRIDES, "mutations")
    shown = await _shown_at(context, origin, at)
    return (await compiled(context, shown, given.mutations, field)).executable


async def _shown_at(context: OperationContext, origin: ExecutionID, at: Seq) -> ExecutableDiagram:
    """The graph that a run had there. Raises NotFound, InvalidInput, LimitExceeded."""
    view = await context.views.load(origin)
    if view is None:
        raise NotFound(f"There is no execution {origin!r}.")
    check_sequence(origin, at, view.last_seq)
    return (await folded(context, origin, at)).diagram


def _outputs_of(given: JSON | None) -> dict[str, Any]:
    """Results by node key. Raises InvalidInput."""
    value: object = {} if given is None else given
    if not isinstance(value, dict):
        message = "`outputs` must be an object: {nodeKey: result}."
        raise InvalidInput(message, field=(*_OVERRIDES, "outputs"))
    return value
