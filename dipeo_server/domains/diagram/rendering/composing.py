"""From a diagram to its picture: which shape a node has, what is written at it and at its edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.executable import (
    EdgeKind,
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
    FanOut,
    JoinPolicy,
)
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.node_settings import settings_of
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.diagram.rendering.lettering import joined
from dipeo_server.domains.diagram.rendering.picture import Arrow, Box, Line, Picture, Shape
from dipeo_server.domains.diagram.spec import NodeSettings, NodeSpec

Specs = Mapping[str, NodeSpec]
Persons = Mapping[str, DomainPerson]

_DEFAULT: Final = "default"
_SHAPE_OF_TYPE: Final[Mapping[str, Shape]] = {
    "start": Shape.START,
    "endpoint": Shape.END,
    "condition": Shape.CHOICE,
    "sub_diagram": Shape.CHILD,
}
_SHAPE_OF_CATEGORY: Final[Mapping[str, Shape]] = {
    "ai": Shape.MODEL,
    "code": Shape.CODE,
    "data": Shape.DATA,
    "people": Shape.PEOPLE,
}


@dataclass(frozen=True, slots=True)
class _Flow:
    """How a node joins its inputs and follows its edges."""

    join: JoinPolicy = JoinPolicy.ALL
    k: int = 1
    fan_out: FanOut = FanOut.ALL


def compose_document(diagram: DomainDiagram, specs: Specs) -> Picture:
    """The picture of a document: of what is compiled from it, or as it stands if it is invalid."""
    try:
        return compose_compiled(compile_diagram(diagram, specs).executable, specs)
    except DiagramInvalid:
        return compose(diagram, specs)


def compose(
    diagram: DomainDiagram, specs: Specs, back_edges: frozenset[str] = frozenset()
) -> Picture:
    """The picture of a document, also of one that is not valid.

    `back_edges`: keys of the edges that begin a loop's next turn. Where two nodes share a key the
    first has the edges; a node that edges name and that does not exist is drawn as missing.
    """
    persons = _by_name(diagram.persons)
    boxes = [_box(node, specs, persons, _flow(node, specs)) for node in diagram.nodes]
    index_of: dict[str, int] = {}
    for index, node in enumerate(diagram.nodes):
        index_of.setdefault(node.key, index)
    for name in _unknown(diagram.edges, index_of):
        index_of[name] = len(boxes)
        boxes.append(Box(name, Shape.MISSING, ("there is no such node",)))
    arrows = [
        _arrow(edge, (index_of[edge.source], index_of[edge.target]), is_back=edge.key in back_edges)
        for edge in diagram.edges
    ]
    return Picture(tuple(boxes), tuple(arrows), (diagram.name,) if diagram.name else ())


def compose_compiled(diagram: ExecutableDiagram, specs: Specs) -> Picture:
    """The picture of a compiled diagram; box and arrow indexes are those of nodes and edges."""
    persons = _by_name(
        [DomainPerson(each.key, each.label, each.service, each.model) for each in diagram.persons]
    )
    boxes = [
        _box(node, specs, persons, _Flow(node.join, node.k, node.fan_out)) for node in diagram.nodes
    ]
    arrows = [
        _arrow(edge, (edge.source, edge.target), is_back=edge.back_of is not None)
        for edge in diagram.edges
    ]
    return Picture(tuple(boxes), tuple(arrows), (diagram.name,) if diagram.name else ())


# --- nodes --------------------------------------------------------------------------------------


def _box(
    node: DomainNode[Mapping[str, Any]] | ExecutableNode,
    specs: Specs,
    persons: Persons,
    flow: _Flow,
) -> Box:
    spec = specs.get(node.type)
    label = node.label or node.key
    type_ = () if label.casefold() == node.type else (node.type,)
    facts = (*type_, *_flow_facts(flow), *_batch_facts(node.props))
    details = [f"{node.key} ({node.type})"]
    if spec is None:
        details.append("This server has no such type of node.")
    return Box(
        label=label,
        shape=_shape(node.type, spec),
        facts=facts,
        details=(*details, *_person_details(node.props, persons), *_child_details(node.props)),
    )


def _shape(type_: str, spec: NodeSpec | None) -> Shape:
    if type_ in _SHAPE_OF_TYPE:
        return _SHAPE_OF_TYPE[type_]
    return Shape.OTHER if spec is None else _SHAPE_OF_CATEGORY.get(spec.category, Shape.OTHER)


def _flow(node: DomainNode[Mapping[str, Any]], specs: Specs) -> _Flow:
    try:
        found = settings_of(node, specs.get(node.type))
    except ValidationError:
        found = NodeSettings()
    return _Flow(found.join, found.k, found.fan_out)


def _flow_facts(flow: _Flow) -> Iterator[str]:
    match flow.join:
        case JoinPolicy.ANY:
            yield "waits for any input"
        case JoinPolicy.FIRST:
            yield "takes the first input"
        case JoinPolicy.K_OF_N:
            yield f"waits for {flow.k} inputs"
        case JoinPolicy.ALL:
            pass
    if flow.fan_out is FanOut.FIRST:
        yield "takes the first way that holds"


def _batch_facts(props: Mapping[str, Any]) -> Iterator[str]:
    if props.get("batch") is True:
        at_once = props.get("batch_parallel", True)
        yield "for each item, one by one" if at_once is False else "for each item, in parallel"


def _person_details(props: Mapping[str, Any], persons: Persons) -> Iterator[str]:
    name = props.get("person")
    if not isinstance(name, str):
        return
    person = persons.get(name)
    model = f": {person.service}, {person.model}" if person is not None else ""
    yield f"person {name}{model}"


def _child_details(props: Mapping[str, Any]) -> Iterator[str]:
    name = props.get("diagram_name")
    if isinstance(name, str):
        yield f"runs {name}"


def _by_name(persons: Sequence[DomainPerson]) -> Persons:
    """Persons by key and by label; the first one has a name."""
    found: dict[str, DomainPerson] = {}
    for person in persons:
        found.setdefault(person.key, person)
        found.setdefault(person.label, person)
    return found


# --- edges --------------------------------------------------------------------------------------


def _unknown(edges: Sequence[DomainEdge], known: Mapping[str, int]) -> list[str]:
    """Names that are no keys of nodes, each once, in the order of the edges."""
    names = (name for edge in edges for name in (edge.source, edge.target))
    return list(dict.fromkeys(name for name in names if name not in known))


def _arrow(edge: DomainEdge | ExecutableEdge, ends: tuple[int, int], *, is_back: bool) -> Arrow:
    label = joined(("↺" if is_back else "", _edge_label(edge)), " ")
    return Arrow(*ends, label, _line(edge, is_back=is_back), _told(edge))


def _edge_label(edge: DomainEdge | ExecutableEdge) -> str:
    """`condtrue, if x > 1, as input → first`: what an author wrote at the edge."""
    port = "" if edge.source_handle == _DEFAULT else edge.source_handle
    name = f"as {edge.label}" if edge.label and edge.label != port else ""
    handle = "" if edge.target_handle == _DEFAULT else f"→ {edge.target_handle}"
    return joined((joined((port, _when(edge), name)), handle), " ")


def _when(edge: DomainEdge | ExecutableEdge) -> str:
    match edge.kind:
        case EdgeKind.WHEN:
            return f"if {edge.condition or '?'}"
        case EdgeKind.DEFAULT:
            return "otherwise"
        case EdgeKind.FALLBACK:
            return "after a failure"
        case EdgeKind.ALWAYS:
            return ""


def _line(edge: DomainEdge | ExecutableEdge, *, is_back: bool) -> Line:
    if is_back:
        return Line.BACK
    if edge.kind is EdgeKind.FALLBACK:
        return Line.FALLBACK
    is_chosen = edge.kind is not EdgeKind.ALWAYS or edge.source_handle != _DEFAULT
    return Line.CHOSEN if is_chosen else Line.PLAIN


def _told(edge: DomainEdge | ExecutableEdge) -> tuple[str, ...]:
    facts = [
        f"content type {edge.content_type}" if edge.content_type else "",
        f"priority {edge.priority}" if edge.priority else "",
        f"transformed: {', '.join(edge.transform)}" if edge.transform else "",
    ]
    return (edge.key, *(fact for fact in facts if fact))
