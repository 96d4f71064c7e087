"""What a run tells of its past: earlier states, who set what, its states as a graph."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, TypeAlias, TypeVar

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.json_dialect import dumps
from dipeo_server.api.past import check_sequence, merged, past_view
from dipeo_server.api.past_graph import GraphPart, execution_graph
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.execution_facts import ExecutionFacts
from dipeo_server.api.types.node_state import duration
from dipeo_server.api.types.outcome import BODY_BYTES_MAX, execution_error, token_usage
from dipeo_server.api.types.rendering import DrawnAs, rendered
from dipeo_server.domains.execution import dependencies, graph, history
from dipeo_server.domains.execution.graph_groups import GroupKind
from dipeo_server.domains.execution.graph_picture import compose_graph
from dipeo_server.domains.execution.ids import Seq

Place: TypeAlias = Annotated[
    Seq, strawberry.argument(description="An event of the log, from 1 to `lastSequence`.")
]
UpTo: TypeAlias = Annotated[
    Seq | None, strawberry.argument(description="The last event that counts; null = the newest.")
]
AfterEvent: TypeAlias = Annotated[
    Seq | None, strawberry.argument(description="Only states behind this event.")
]
SubDiagrams: TypeAlias = Annotated[
    bool,
    strawberry.argument(
        description=(
            "Also the runs of sub-diagrams and of branches whose visits begin there, with what "
            "is below them."
        )
    ),
]
Flattened: TypeAlias = Annotated[
    bool,
    strawberry.argument(
        description=(
            "Also dependencies inside of nodes that have diagrams written out in them, as "
            "`node/branch/inner`."
        )
    ),
]


@object_type
class HistoryEntry:
    """The newest value of a variable, or of a node's output, and the event that set it."""

    key: str = strawberry.field(
        description="`variables.NAME` or `outputs.NODE`: a variable and a node may have one name."
    )
    name: str = strawberry.field(description="The variable's name, or the node's key.")
    value: JSON | None = strawberry.field(
        description="The value; null where it is larger than 256 KiB, or deleted."
    )
    sequence: Seq = strawberry.field(description="The event that set it.")
    node_key: str | None = strawberry.field(
        description=(
            "The node that set it, of an output always its own; null for the start of the run, and "
            "for people."
        )
    )
    conflict: bool = strawberry.field(
        description=(
            "Has a node that runs side by side with that one set it too, and none behind both?"
        )
    )
    is_deleted: bool = strawberry.field(description="Was the variable deleted by that event?")
    is_truncated: bool = strawberry.field(description="Was it left out because of its size?")


def history_entry(found: history.HistoryEntry) -> HistoryEntry:
    """The GraphQL value of an entry."""
    is_truncated = found.is_elsewhere or len(dumps(found.value)) > BODY_BYTES_MAX
    return HistoryEntry(
        key=found.key,
        name=found.name,
        value=None if is_truncated else JSON(found.value),
        sequence=found.sequence,
        node_key=found.node,
        conflict=found.conflict,
        is_deleted=found.is_deleted,
        is_truncated=is_truncated,
    )


@object_type
class GraphState:
    """The state behind one step of one run; `stateAt` of that run gives the whole of it."""

    id: strawberry.ID = strawberry.field(description="The run and the sequence: `exec_0_abc@12`.")
    execution_id: strawberry.ID = strawberry.field(
        description="The run whose step it was; forks share the states of what they go on from."
    )
    sequence: Seq = strawberry.field(description="The event of the step.")
    node_key: str | None = strawberry.field(description="The node that it was about.")
    summary: str = strawberry.field(description="What it was, in a few words.")


@object_type
class GraphEdge:
    """A step, from the state before it to the state behind it."""

    from_: strawberry.ID = strawberry.field(name="from", description="The earlier state.")
    to: strawberry.ID = strawberry.field(description="The later state.")


@object_type
class GraphGroup:
    """States that belong together: a turn of a loop, or what ran for one visit of a node."""

    id: strawberry.ID = strawberry.field(description="Unlike all others of the graph.")
    kind: GroupKind = strawberry.field(description="What holds them together.")
    execution_id: strawberry.ID = strawberry.field(
        description="The run whose states these are; of PARALLEL that which runs the branches."
    )
    label: str = strawberry.field(description="The node, the branch or the turn, for people.")
    parent: strawberry.ID | None = strawberry.field(description="The group around it.")
    states: list[strawberry.ID] = strawberry.field(
        description="Its states but those that are in groups inside of it."
    )


@object_type
class ExecutionGraph:
    """States as nodes, steps as edges, forks as branches."""

    found: strawberry.Private[graph.ExecutionGraph]

    @computed
    def states(self) -> list[GraphState]:
        """The states, run by run, each in order."""
        return [
            GraphState(
                id=strawberry.ID(state.id),
                execution_id=strawberry.ID(state.execution_id),
                sequence=state.sequence,
                node_key=state.node,
                summary=state.summary,
            )
            for state in self.found.states
        ]

    @computed
    def edges(self) -> list[GraphEdge]:
        """The steps."""
        return [
            GraphEdge(from_=strawberry.ID(earlier), to=strawberry.ID(later))
            for earlier, later in self.found.edges
        ]

    @computed
    def groups(self) -> list[GraphGroup]:
        """The groups, each behind the one around it.

        A part of a run tells of loops as far as their turns begin in it.
        """
        return [
            GraphGroup(
                id=strawberry.ID(group.id),
                kind=group.kind,
                execution_id=strawberry.ID(group.execution_id),
                label=group.label,
                parent=None if group.parent is None else strawberry.ID(group.parent),
                states=[strawberry.ID(each) for each in group.states],
            )
            for group in self.found.groups
        ]

    @computed
    async def render(self, info: Info, format: DrawnAs) -> str:
        """A picture; long stretches without a branch are drawn as one box each."""
        return await rendered(lambda: compose_graph(self.found), format, info.context)


@object_type
class Dependency:
    """One node rests on another."""

    node: str = strawberry.field(description="Key of the node.")
    depends_on: str = strawberry.field(description="Key of the node that it rests on.")
    via: list[str] = strawberry.field(
        description=(
            "How: names of inputs, with the port where it is not the usual one "
            "(`condtrue → default`), and `variable NAME`."
        )
    )


@object_type
class LookingBack(ExecutionFacts):
    """What a run tells of its past; the base of `ExecutionState`."""

    @computed
    async def merged_history(self, info: Info, up_to: UpTo = None) -> list[HistoryEntry]:
        """The newest value of each variable and output, in the order of the events that set them.

        It is what the state at that event holds, with who set it.
        """
        upto = self.last_sequence if up_to is None else up_to
        check_sequence(self.execution_id, upto, self.last_sequence)
        found = await merged(info.context, self.execution_id, upto)
        return [history_entry(entry) for entry in found]

    @computed
    async def execution_graph(
        self,
        info: Info,
        after: AfterEvent = None,
        up_to: UpTo = None,
        *,
        sub_diagrams: SubDiagrams = False,
    ) -> ExecutionGraph:
        """The states that it, what it was forked from, and all forks of these went through."""
        view = await self.loaded_view(info)
        upto = Seq(2**62) if up_to is None else up_to
        part = GraphPart(after or Seq(0), upto, has_children=sub_diagrams)
        return ExecutionGraph(found=await execution_graph(info.context, view, part))

    @computed
    async def dependency_graph(
        self, info: Info, *, flattened: Flattened = False
    ) -> list[Dependency]:
        """Which node rests on which directly, by edges and by variables that can be seen."""
        view, specs = await self.loaded_view(info), info.context.services.specs
        found = await asyncio.to_thread(
            lambda: dependencies.dependencies(view.diagram, specs, flattened=flattened)
        )
        return [
            Dependency(node=each.node, depends_on=each.depends_on, via=list(each.via))
            for each in found
        ]


R = TypeVar("R", bound=ExecutionFacts)


async def as_of(run: R, sequence: Seq, context: OperationContext) -> R:
    """The run as it stood behind that event. Raises InvalidInput, LimitExceeded."""
    check_sequence(run.execution_id, sequence, run.last_sequence)
    view, at = await past_view(context, run.execution_id, sequence)
    return replace(
        run,
        status=view.status,
        is_active=view.status.is_active,
        ended_at=view.ended_at,
        duration=duration(view.created_at, view.ended_at),
        error=execution_error(view.error) if view.error else None,
        token_usage=token_usage(view.token_usage),
        last_sequence=view.last_seq,
        view=view,
        as_of=at,
    )
