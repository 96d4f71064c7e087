"""Plain {nodes, edges} as an AsyncGraphExecutor takes them: read strictly, and compiled."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.formats.inline import from_inputs
from dipeo_server.domains.diagram.judgement import compile_loaded
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.expression import check_expression
from dipeo_server.executors.functions import START, function_type


class WorkflowNode(BaseModel):
    """One node: its id, its type, and what its type wants to know in `data`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    id: str = Field(min_length=1, validation_alias=AliasChoices("id", "key"))
    type: str | None = None
    label: str | None = None
    data: dict[str, Any] = Field(
        default_factory=dict, validation_alias=AliasChoices("data", "props")
    )
    position: dict[str, int | float] | None = None
    join: str | None = None
    fan_out: str | None = None


class WorkflowEdge(BaseModel):
    """One edge, from the node `source` to the node `target`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    id: str | None = Field(None, validation_alias=AliasChoices("id", "key"))
    source: str
    target: str
    source_handle: str | None = Field(
        None, validation_alias=AliasChoices("source_handle", "sourceHandle")
    )
    target_handle: str | None = Field(
        None, validation_alias=AliasChoices("target_handle", "targetHandle")
    )
    label: str | None = None
    kind: str | None = None
    condition: str | None = None
    priority: int | None = None
    content_type: str | None = None
    transform: dict[str, Any] | None = None


class Workflow(BaseModel):
    """A whole graph."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    nodes: list[WorkflowNode] = Field(min_length=1)
    edges: list[WorkflowEdge] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CompiledWorkflow:
    """A graph that can run, and the warnings it earned."""

    diagram: ExecutableDiagram
    warnings: tuple[DiagramProblem, ...]


def compile_workflow(
    data: object,
    specs: Mapping[str, NodeSpec],
    functions: Collection[str],
    *,
    run_orphans: bool,
) -> CompiledWorkflow:
    """What a run of the graph runs; `functions` are the names of nodes or types that are functions.

    Raises DiagramInvalid with everything that is wrong.
    """
    workflow = _read(data)
    types = {node.id: _type(node, functions) for node in workflow.nodes}
    idle = [key for key, type_ in types.items() if type_ is None]
    if idle:
        raise DiagramInvalid([_without_work(key, functions) for key in idle])
    nodes = [_as_input(node, types[node.id]) for node in workflow.nodes]
    edges = [_edge_as_input(edge, types) for edge in workflow.edges]
    roots = _roots(workflow, types, run_orphans=run_orphans)
    if roots:
        nodes.insert(0, {"key": START, "type": "start"})
        edges += [
            {
                "key": f"{START}>{root}",
                "source": START,
                "target": root,
                # A function without parents has no inputs; other nodes get the variables.
                "label": START if _is_function(types[root]) else None,
            }
            for root in roots
        ]
    compiled = compile_loaded(from_inputs(nodes, edges, specs=specs), specs, check_expression)
    return CompiledWorkflow(compiled.executable, compiled.warnings)


def _type(node: WorkflowNode, functions: Collection[str]) -> str | None:
    """A function of the node's own name comes first, then one of its type."""
    for name in (node.id, node.type):
        if name is not None and name in functions:
            return function_type(name)
    return node.type


def _as_input(node: WorkflowNode, type_: str | None) -> dict[str, Any]:
    settings = {"join": node.join, "fan_out": node.fan_out}
    return {
        "key": node.id,
        "type": type_,
        "label": node.label,
        "props": node.data,
        "position": node.position,
        **{name: value for name, value in settings.items() if value is not None},
    }


def _edge_as_input(edge: WorkflowEdge, types: Mapping[str, str | None]) -> dict[str, Any]:
    """Functions know their parents by name, and get what those gave as it is."""
    raw = {
        **edge.model_dump(exclude={"id"}, exclude_none=True),
        **({} if edge.id is None else {"key": edge.id}),
    }
    if _is_function(types.get(edge.target)) and edge.target_handle is None:
        raw.setdefault("label", edge.source)
    if _is_function(types.get(edge.source)):
        raw.setdefault("content_type", "generic")
    return raw


def _is_function(type_: str | None) -> bool:
    return type_ is not None and type_.startswith(function_type(""))


def _roots(workflow: Workflow, types: Mapping[str, str | None], *, run_orphans: bool) -> list[str]:
    """What an added start leads to: nodes without parents, floating ones only on request."""
    starts = {key for key, type_ in types.items() if type_ == "start"}
    if starts and not run_orphans:
        return []
    targets = {edge.target for edge in workflow.edges}
    sources = {edge.source for edge in workflow.edges}
    is_alone = len(workflow.nodes) == 1
    return [
        node.id
        for node in workflow.nodes
        if node.id not in targets
        and node.id not in starts
        and (run_orphans or is_alone or node.id in sources)
    ]


# --- reading ------------------------------------------------------------------------------------


def _read(data: object) -> Workflow:
    if not isinstance(data, Mapping):
        message = f"A graph is a map of nodes and edges, not {type(data).__name__}."
        raise DiagramInvalid([_problem(message, hint='{"nodes": [...], "edges": [...]}')])
    try:
        return Workflow.model_validate(dict(data))
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False, include_input=False, include_context=False)
        raise DiagramInvalid([_refused(error) for error in errors]) from None


def _refused(error: ErrorDetails) -> DiagramProblem:
    place = ".".join(str(step) for step in error["loc"])
    match error["type"]:
        case "missing":
            return _problem(f"`{place}` is missing.")
        case "extra_forbidden":
            return _problem(f"`{place}` is no field.", hint=_nearest_field(error["loc"]))
        case _:
            return _problem(f"`{place}`: {error['msg'][:1].lower()}{error['msg'][1:]}.")


def _nearest_field(place: tuple[int | str, ...]) -> str | None:
    models: dict[int | str, type[BaseModel]] = {"nodes": WorkflowNode, "edges": WorkflowEdge}
    model = Workflow if len(place) == 1 else models[place[0]]
    return did_you_mean(str(place[-1]), model.model_fields)


def _without_work(key: str, functions: Collection[str]) -> DiagramProblem:
    message = f"Node {key!r} has no type, and no function is given for it."
    hint = did_you_mean(key, functions) or "Give it a `type`, or pass a function in `handlers`."
    return DiagramProblem(Severity.ERROR, "UNKNOWN_NODE_TYPE", message, hint, node=key)


def _problem(message: str, *, hint: str | None = None) -> DiagramProblem:
    return DiagramProblem(Severity.ERROR, "INVALID_FIELD", message, hint)
