"""What clients send: diagrams and wishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.documents import Document
from dipeo_server.api.types.checkpoints import CheckpointPolicyInput
from dipeo_server.api.types.control_inputs import BreakpointInput
from dipeo_server.api.types.described import input_type, one_of_type
from dipeo_server.api.types.enums import DiagramFormat
from dipeo_server.api.types.node_types import NodeType, type_of_name
from dipeo_server.domains.diagram.executable import EdgeKind, FanOut, JoinPolicy
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.checkpoint import CheckpointFailurePolicy
from dipeo_server.domains.execution.diagram_store import DiagramQuery
from dipeo_server.domains.execution.envelope import ContentType
from dipeo_server.domains.execution.events import Durability, ErrorStrategy
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import InvalidInput


@input_type
class PositionInput:
    """Where a node is drawn."""

    x: float = strawberry.field(description="To the right.")
    y: float = strawberry.field(description="Downwards.")


@input_type
class NodeInput:
    """A step of a diagram."""

    key: str = strawberry.field(description="Unique in the diagram.")
    type: NodeType = strawberry.field(description="What it does.")
    label: str | None = strawberry.field(default=None, description="Null = the key.")
    position: PositionInput | None = strawberry.field(
        default=None, description="Where it is drawn."
    )
    props: JSON | None = strawberry.field(
        default=None, description="An object, as `nodeTypes { propsSchema }` describes it."
    )
    join: JoinPolicy | None = strawberry.field(default=None, description="Null = ALL.")
    fan_out: FanOut | None = strawberry.field(default=None, description="Null = ALL.")


@input_type
class EdgeInput:
    """A connection between two nodes."""

    key: str | None = strawberry.field(default=None, description="Null = one is made up.")
    source: str = strawberry.field(description="Key of the node it begins at.")
    target: str = strawberry.field(description="Key of the node it ends at.")
    source_handle: str | None = strawberry.field(
        default="default", description="The port it leaves from."
    )
    target_handle: str | None = strawberry.field(
        default="default", description="The handle it leads to."
    )
    label: str | None = strawberry.field(
        default=None, description="The name of the input at its target."
    )
    kind: EdgeKind | None = strawberry.field(
        default=EdgeKind.ALWAYS, description="When it is followed."
    )
    condition: str | None = strawberry.field(default=None, description="Expression of a WHEN edge.")
    content_type: ContentType | None = strawberry.field(
        default=None, description="What its value becomes."
    )
    transform: JSON | None = strawberry.field(
        default=None, description="Rules that reshape its value."
    )


@input_type
class DiagramInput:
    """A diagram: exactly one of `content` and `nodes`.

    `path` says where the document lies, relative to the base directory, to find prompt files; it
    may not leave it.
    """

    name: str = strawberry.field(description="Its name.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    content: str | None = strawberry.field(default=None, description="The document.")
    format: DiagramFormat | None = strawberry.field(
        default=None, description="The document's format; null = detect it."
    )
    path: str | None = strawberry.field(default=None, description="Where the document lies.")
    nodes: list[NodeInput] | None = strawberry.field(
        default=None, description="The nodes, in place of a document."
    )
    edges: list[EdgeInput] | None = strawberry.field(
        default=None, description="The edges that go with `nodes`."
    )
    persons: JSON | None = strawberry.field(
        default=None, description="The persons that go with `nodes`: settings by key."
    )


@one_of_type
class RunSource:
    """What to run: a stored diagram as it is now, one revision of it, or a document."""

    diagram_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="A stored diagram: its newest revision runs."
    )
    revision_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="One revision."
    )
    inline: DiagramInput | None = strawberry.field(
        default=strawberry.UNSET, description="A diagram that is not stored."
    )


@input_type
class RunDiagramInput:
    """A wish to run a diagram."""

    source: RunSource = strawberry.field(description="What to run.")
    variables: JSON | None = strawberry.field(
        default=None, description="An object: the execution variables it starts with."
    )
    max_steps: int | None = strawberry.field(
        default=None,
        description="Steps after which it pauses; null = the larger of 10,000 and 10 x nodes.",
    )
    max_tokens: int | None = strawberry.field(
        default=None,
        description="Tokens of models, sent and received, after which it pauses; null = no limit.",
    )
    max_time: timedelta | None = strawberry.field(
        default=None, description="Time of being RUNNING after which it pauses; null = no limit."
    )
    start_paused: bool | None = strawberry.field(
        default=False, description="Paused before anything runs; `resumeExecution` lets it go."
    )
    breakpoints: list[BreakpointInput] | None = strawberry.field(
        default=None, description="Where it pauses; null = nowhere."
    )
    initial_state: JSON | None = strawberry.field(
        default=None,
        description=(
            "{nodeKey: {output, fingerprint?}}: taken as done where the fingerprint still fits."
        ),
    )
    checkpoint_policy: CheckpointPolicyInput | None = strawberry.field(
        default=None, description="When checkpoints are taken; null = the preset CONSERVATIVE."
    )
    checkpoint_failure: CheckpointFailurePolicy | None = strawberry.field(
        default=CheckpointFailurePolicy.CONTINUE,
        description="What becomes of it where a checkpoint cannot be taken.",
    )
    error_strategy: ErrorStrategy | None = strawberry.field(
        default=ErrorStrategy.FAIL_FAST,
        description="What a failure that nothing handles does to the rest.",
    )
    durability: Durability | None = strawberry.field(
        default=Durability.ADAPTIVE,
        description="What has to be on disk before a node starts.",
    )


@input_type
class ExecutionFilter:
    """Which runs a list shows; what is null does not matter."""

    statuses: list[ExecutionStatus] | None = strawberry.field(
        default=None, description="In one of these statuses."
    )
    started_after: datetime | None = strawberry.field(
        default=None, description="Started after this time."
    )
    started_before: datetime | None = strawberry.field(
        default=None, description="Started before this time."
    )
    is_active: bool | None = strawberry.field(default=None, description="Not ended, or ended.")
    parent_id: strawberry.ID | None = strawberry.field(
        default=None, description="Started by this run for its sub-diagrams."
    )
    diagram_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of this stored diagram, whatever the revision."
    )


Filter: TypeAlias = Annotated[
    ExecutionFilter | None, strawberry.argument(description="Which runs; null = all.")
]


@input_type
class DiagramFilter:
    """Which diagrams a list shows; what is null does not matter."""

    name_contains: str | None = strawberry.field(
        default=None, description="With this in the name, in any case."
    )
    include_archived: bool | None = strawberry.field(
        default=False, description="Archived ones as well."
    )


def document_of(
    given: DiagramInput, specs: Mapping[str, NodeSpec], field: tuple[str, ...]
) -> Document:
    """The document of an input; `field` is its path in the arguments. Raises InvalidInput."""
    if given.edges and given.nodes is None:
        message = "`edges` go with `nodes`; a document has its own."
        raise InvalidInput(message, field=(*field, "edges"))
    return Document(
        name=given.name,
        description=given.description,
        content=given.content,
        format=given.format,
        path=given.path,
        nodes=None if given.nodes is None else _nodes(given.nodes, specs, (*field, "nodes")),
        edges=[asdict(edge) for edge in given.edges or ()],
        persons=given.persons,
        field=field,
    )


def _nodes(
    nodes: list[NodeInput], specs: Mapping[str, NodeSpec], field: tuple[str, ...]
) -> list[Mapping[str, Any]]:
    return [node_fields(node, specs, (*field, str(index))) for index, node in enumerate(nodes)]


def node_fields(
    node: NodeInput, specs: Mapping[str, NodeSpec], field: tuple[str, ...]
) -> Mapping[str, Any]:
    """The node as readers of diagrams take it; `field` is its path. Raises InvalidInput."""
    type_ = type_of_name(node.type, specs)
    if type_ is None:
        message = f"Node {node.key!r}: UNKNOWN is no type that can be run."
        raise InvalidInput(message, field=(*field, "type"))
    return {**asdict(node), "type": type_}


def variables_of(given: JSON | None, field: tuple[str, ...]) -> Mapping[str, Any]:
    """The variables by name. Raises InvalidInput for anything but an object."""
    value: object = given
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = "`variables` must be an object: its keys are the names."
        raise InvalidInput(message, field=field)
    return value


def execution_query(filter_: ExecutionFilter | None) -> ExecutionQuery:
    """The query that a filter stands for, without a page."""
    if filter_ is None:
        return ExecutionQuery()
    return ExecutionQuery(
        statuses=None if filter_.statuses is None else frozenset(filter_.statuses),
        parent_id=ExecutionID(filter_.parent_id) if filter_.parent_id else None,
        diagram_id=filter_.diagram_id or None,
        started_after=filter_.started_after,
        started_before=filter_.started_before,
        is_active=filter_.is_active,
    )


def diagram_query(filter_: DiagramFilter | None) -> DiagramQuery:
    """The query that a filter stands for, without a page."""
    if filter_ is None:
        return DiagramQuery()
    return DiagramQuery(filter_.name_contains, include_archived=bool(filter_.include_archived))
