"""Changing the graph of a run: the mutation, and what it would come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from dipeo_server.api.calls import Call
from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.past import folded
from dipeo_server.api.types.arguments import ExecutionArgument, Key
from dipeo_server.api.types.described import computed, mutation, object_type
from dipeo_server.api.types.graph_inputs import (
    GraphMutationInput,
    MutationImpact,
    Mutations,
    impact_of,
    mutations_of,
)
from dipeo_server.api.types.payloads import ExecutionPayload
from dipeo_server.domains.diagram.compile import Compiled
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.mutations import apply_mutations
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.mutating import GraphImpact, impact
from dipeo_server.domains.execution.runner import Accepted
from dipeo_server.domains.execution.signals import GraphMutationRequested
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import ExecutionFinished, NotFound

T = TypeVar("T")

_QUICK_NODES: Final = 100
"""Larger diagrams are worked on in a thread, so that they do not hold up everybody else."""
_FIELD: Final = ("mutations",)


@object_type
class GraphMutations:
    """What changes the graph of a run."""

    @mutation
    async def mutate_graph(
        self,
        info: Info,
        execution_id: ExecutionArgument,
        mutations: Mutations,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Let a run that has not ended go on with another graph, as its next revision.

        All changes are made together, or none. What has run stays so and does not run again by
        itself; what is to come runs as the new graph has it. Refused where a node that runs or
        waits would be another one, or a loop that has begun: see `previewGraphMutation`.
        """
        arguments = {"executionId": execution_id, "mutations": mutations}
        call = Call(info, "mutateGraph", arguments, idempotency_key, execution_id)

        async def mutate() -> Accepted:
            # A change that was made already may not fit the graph that came of it.
            known = await info.context.runner.answered(call.key())
            if known is not None:
                return known
            view = await call.run()
            _check_active(view)
            changed = await compiled(info.context, view.diagram, mutations, _FIELD)
            principal = info.context.principal
            wish = GraphMutationRequested(changed.executable, view.revision, actor=principal)
            return await call.tell(wish)

        return await call.payload(mutate)


@object_type
class GraphPreviews:
    """What is told of a change before it is made."""

    @computed
    async def preview_graph_mutation(
        self, info: Info, execution_id: ExecutionArgument, mutations: Mutations
    ) -> MutationImpact:
        """What `mutateGraph` would come to now; nothing is changed."""
        context = info.context
        view = await context.views.load(ExecutionID(execution_id))
        if view is None:
            raise NotFound(f"There is no execution {execution_id!r}.")
        _check_active(view)
        try:
            changed = await compiled(context, view.diagram, mutations, _FIELD)
        except DiagramInvalid as invalid:
            return impact_of(GraphImpact((), (), (), invalid.problems))
        state = await folded(context, view.id, view.last_seq)
        found = await _beside(changed.executable, lambda: impact(state, changed.executable))
        return impact_of(found, changed.warnings)


def _check_active(view: ExecutionView) -> None:
    if view.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {view.status}.")


async def compiled(
    context: OperationContext,
    diagram: ExecutableDiagram,
    mutations: Sequence[GraphMutationInput],
    field: tuple[str, ...],
) -> Compiled:
    """The diagram with the changes. Raises InvalidInput, DiagramInvalid."""
    services = context.services
    wanted = mutations_of(mutations, services.specs, field)

    def work() -> Compiled:
        return apply_mutations(diagram, wanted, services.specs, services.check_expression)

    return await _beside(diagram, work)


async def _beside(diagram: ExecutableDiagram, work: Callable[[], T]) -> T:
    """Do it, for a large diagram beside the event loop."""
    return work() if len(diagram.nodes) <= _QUICK_NODES else await asyncio.to_thread(work)
