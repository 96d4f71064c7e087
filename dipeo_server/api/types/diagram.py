"""Diagrams: nodes, edges, persons, and what is wrong with a document."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.context import Info
from dipeo_server.api.types.arguments import Format
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.node_types import NodeType, node_type_name
from dipeo_server.api.types.rendering import DrawnAs, rendered
from dipeo_server.domains.diagram import problem
from dipeo_server.domains.diagram.executable import (
    EdgeKind,
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
    FanOut,
    JoinPolicy,
)
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.writing import write_diagram
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.mutations import document_of
from dipeo_server.domains.diagram.problem import Severity
from dipeo_server.domains.diagram.rendering.composing import compose_document
from dipeo_server.domains.execution.envelope import ContentType


@object_type
class Position:
    """Where a node is drawn."""

    x: float = strawberry.field(description="To the right.")
    y: float = strawberry.field(description="Downwards.")


@object_type
class DiagramProblem:
    """Something about a diagram that an author should know."""

    severity: Severity = strawberry.field(description="Does it keep the diagram from running?")
    code: str = strawberry.field(description="For programs; the documentation lists all of them.")
    message: str = strawberry.field(description="For people.")
    hint: str | None = strawberry.field(description="How to mend it.")
    node_key: str | None = strawberry.field(description="The node it is about.")
    edge_key: str | None = strawberry.field(description="The edge it is about.")
    line: int | None = strawberry.field(description="Line of the document, from 1.")
    column: int | None = strawberry.field(description="Column of the document, from 1.")


def diagram_problem(found: problem.DiagramProblem) -> DiagramProblem:
    """The GraphQL value of a finding."""
    place = found.location
    return DiagramProblem(
        severity=found.severity,
        code=found.code,
        message=found.message,
        hint=found.hint,
        node_key=found.node,
        edge_key=found.edge,
        line=place.line if place else None,
        column=place.column if place else None,
    )


@object_type
class DiagramReport:
    """What there is to say about a document."""

    is_valid: bool = strawberry.field(description="Could it run?")
    problems: list[DiagramProblem] = strawberry.field(description="Errors and warnings.")
    diagram: strawberry.Private[DomainDiagram | None]

    @computed
    def content(self, format: Format) -> str | None:
        """The document in another format; null where it could not be read."""
        return None if self.diagram is None else write_diagram(self.diagram, format)

    @computed
    async def render(self, info: Info, format: DrawnAs) -> str | None:
        """A picture of the document as far as it could be read; null where it could not."""
        diagram = self.diagram
        if diagram is None:
            return None
        specs = info.context.services.specs
        return await rendered(lambda: compose_document(diagram, specs), format, info.context)


def diagram_report(loaded: Loaded, problems: tuple[problem.DiagramProblem, ...]) -> DiagramReport:
    """The GraphQL value of a document that was read."""
    return DiagramReport(
        is_valid=loaded.diagram is not None and not any(found.is_error for found in problems),
        problems=[diagram_problem(found) for found in problems],
        diagram=loaded.diagram,
    )


class Graph:
    """A compiled diagram, with the edges at each node as they were written."""

    def __init__(self, diagram: ExecutableDiagram) -> None:
        self.diagram = diagram

    @cached_property
    def incoming(self) -> list[list[ExecutableEdge]]:
        """Edges into each node, by its index."""
        return self._edges_by(lambda edge: edge.target)

    @cached_property
    def outgoing(self) -> list[list[ExecutableEdge]]:
        """Edges out of each node, by its index."""
        return self._edges_by(lambda edge: edge.source)

    @cached_property
    def as_document(self) -> DomainDiagram:
        """The diagram as if it had been read again."""
        return document_of(self.diagram)

    def node(self, key: str) -> DiagramNode | None:
        """The node with that key."""
        index = self.diagram.index_of.get(key)
        return None if index is None else diagram_node(self, self.diagram.nodes[index])

    def _edges_by(self, end: Callable[[ExecutableEdge], int]) -> list[list[ExecutableEdge]]:
        found: list[list[ExecutableEdge]] = [[] for _ in self.diagram.nodes]
        for edge in self.diagram.edges:
            found[end(edge)].append(edge)
        return found


@object_type
class DiagramNode:
    """A step of a diagram."""

    key: str = strawberry.field(
        description=(
            "The label in light and readable files, the id in native ones; it is what nodeKey "
            "means everywhere."
        )
    )
    type_name: str = strawberry.field(description="The type as it is written.")
    label: str = strawberry.field(description="The name for people.")
    position: Position | None = strawberry.field(description="Where it is drawn.")
    props: JSON = strawberry.field(description="What the author set.")
    join: JoinPolicy = strawberry.field(description="How many inputs it waits for.")
    fan_out: FanOut = strawberry.field(description="Which edges are followed.")
    graph: strawberry.Private[Graph]
    index: strawberry.Private[int]

    @computed
    def type(self, info: Info) -> NodeType:
        """The type; UNKNOWN where this server has no handler for it."""
        return node_type_name(self.type_name, info.context.services.specs)

    @computed
    def incoming(self) -> list[DiagramEdge]:
        """Edges that lead here."""
        return [diagram_edge(self.graph, edge) for edge in self.graph.incoming[self.index]]

    @computed
    def outgoing(self) -> list[DiagramEdge]:
        """Edges that leave from here."""
        return [diagram_edge(self.graph, edge) for edge in self.graph.outgoing[self.index]]


def diagram_node(graph: Graph, node: ExecutableNode) -> DiagramNode:
    """The GraphQL value of a compiled node."""
    return DiagramNode(
        key=node.key,
        type_name=node.type,
        label=node.label,
        position=Position(x=node.position[0], y=node.position[1]) if node.position else None,
        props=JSON(dict(node.props)),
        join=node.join,
        fan_out=node.fan_out,
        graph=graph,
        index=node.index,
    )


@object_type
class DiagramEdge:
    """A connection between two nodes."""

    key: str = strawberry.field(description="Its key, unique in the diagram.")
    source_handle: str = strawberry.field(description="The port it leaves from.")
    target_handle: str = strawberry.field(description="The handle it leads to.")
    label: str | None = strawberry.field(description="The name of the input at its target.")
    kind: EdgeKind = strawberry.field(description="When it is followed.")
    condition: str | None = strawberry.field(description="Expression of a WHEN edge.")
    content_type: ContentType | None = strawberry.field(description="What its value becomes.")
    priority: int = strawberry.field(description="Lower ones are tried first.")
    transform: JSON | None = strawberry.field(description="Rules that reshape its value.")
    graph: strawberry.Private[Graph]
    ends: strawberry.Private[tuple[int, int]]

    @computed
    def source(self) -> DiagramNode:
        """Where it begins."""
        return diagram_node(self.graph, self.graph.diagram.nodes[self.ends[0]])

    @computed
    def target(self) -> DiagramNode:
        """Where it ends."""
        return diagram_node(self.graph, self.graph.diagram.nodes[self.ends[1]])


def diagram_edge(graph: Graph, edge: ExecutableEdge) -> DiagramEdge:
    """The GraphQL value of a compiled edge."""
    return DiagramEdge(
        key=edge.key,
        source_handle=edge.source_handle,
        target_handle=edge.target_handle,
        label=edge.label,
        kind=edge.kind,
        condition=edge.condition,
        content_type=_content_type(edge.content_type),
        priority=edge.priority,
        transform=None if edge.transform is None else JSON(edge.transform),
        graph=graph,
        ends=(edge.source, edge.target),
    )


def _content_type(name: str | None) -> ContentType | None:
    """The content type of that name; a name from another version of the format is none."""
    return ContentType(name) if name in set(ContentType) else None


@object_type
class Person:
    """A language model with a role."""

    key: str = strawberry.field(description="What prompts name it by.")
    label: str = strawberry.field(description="The name for people.")
    service: str = strawberry.field(description="The service that runs the model.")
    model: str = strawberry.field(description="The model's name.")
    system_prompt: str | None = strawberry.field(description="What it is told first.")
    secret_ref: str | None = strawberry.field(description="Name of the API key; never the key.")
