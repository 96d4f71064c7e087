"""What clients send to change the graph of a run, and what is told of it beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api.types.described import object_type, one_of_type
from dipeo_server.api.types.diagram import DiagramProblem, diagram_problem
from dipeo_server.api.types.inputs import EdgeInput, NodeInput, node_fields
from dipeo_server.domains.diagram import problem
from dipeo_server.domains.diagram.mutations import (
    DeleteEdge,
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
)
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.machine.mutating import GraphImpact
from dipeo_server.errors import InvalidInput


@one_of_type
class GraphMutationInput:
    """One change of a graph."""

    upsert_node: NodeInput | None = strawberry.field(
        default=strawberry.UNSET,
        description="Put a node in, or in the place of the one with its key.",
    )
    delete_node: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Take the node with this key out, and every edge that begins or ends there.",
    )
    upsert_edge: EdgeInput | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "Put an edge in, or in the place of the one with its key; without a key, of the one "
            "between the same handles."
        ),
    )
    delete_edge: str | None = strawberry.field(
        default=strawberry.UNSET, description="Take the edge with this key out."
    )


Mutations: TypeAlias = Annotated[
    list[GraphMutationInput],
    strawberry.argument(description="The changes, one after the other; all of them or none."),
]


@object_type
class MutationImpact:
    """What a change of a run's graph would come to, if it were made now.

    Each node of the new graph is in one of the lists.
    """

    kept: list[str] = strawberry.field(
        description="Keys of nodes that stay as they are, with what they have done."
    )
    rerun: list[str] = strawberry.field(
        description="Keys of nodes that run from now on as something else, or with other inputs."
    )
    unreachable: list[str] = strawberry.field(
        description="Keys of nodes that never run, as no start leads there."
    )
    problems: list[DiagramProblem] = strawberry.field(
        description="Errors for which it would be refused, and warnings."
    )


def impact_of(
    found: GraphImpact, warnings: Sequence[problem.DiagramProblem] = ()
) -> MutationImpact:
    """The GraphQL value."""
    return MutationImpact(
        kept=list(found.kept),
        rerun=list(found.rerun),
        unreachable=list(found.unreachable),
        problems=[diagram_problem(each) for each in (*found.problems, *warnings)],
    )


def mutations_of(
    given: Sequence[GraphMutationInput], specs: Mapping[str, NodeSpec], field: tuple[str, ...]
) -> list[GraphMutation]:
    """The changes; `field` is their path in the arguments. Raises InvalidInput."""
    return [_mutation(each, specs, (*field, str(index))) for index, each in enumerate(given)]


def _mutation(
    given: GraphMutationInput, specs: Mapping[str, NodeSpec], field: tuple[str, ...]
) -> GraphMutation:
    if isinstance(given.upsert_node, NodeInput):
        return UpsertNode(node_fields(given.upsert_node, specs, (*field, "upsertNode")))
    if isinstance(given.upsert_edge, EdgeInput):
        return UpsertEdge(asdict(given.upsert_edge))
    if isinstance(given.delete_node, str):
        return DeleteNode(given.delete_node)
    if isinstance(given.delete_edge, str):
        return DeleteEdge(given.delete_edge)
    message = "One of `upsertNode`, `deleteNode`, `upsertEdge` and `deleteEdge` must be given."
    raise InvalidInput(message, field=field)
