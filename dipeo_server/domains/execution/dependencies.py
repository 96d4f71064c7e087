"""What rests on what in a diagram: by its edges, and by variables as far as they can be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.diagram.formats.detect import format_of_fields, read_diagram
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Within
from dipeo_server.domains.execution.expression import ExpressionError, names_used

Specs = Mapping[str, NodeSpec]

_DEFAULT: Final = "default"
_PLACEHOLDER: Final = re.compile(r"\{\{[#/]?(?:(?:if|unless|each)\s+)?\s*([A-Za-z_]\w*)")
_DEPTH_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Dependency:
    """`node` rests on `depends_on`.

    `via` says how: names of inputs, with the port where it is not the usual one
    (`condtrue → default`), and `variable x` where one is known to write what the other reads.
    """

    node: str
    depends_on: str
    via: tuple[str, ...]


def dependencies(
    diagram: ExecutableDiagram, specs: Specs, *, flattened: bool = False
) -> tuple[Dependency, ...]:
    """The direct dependencies, in the order of the nodes; each pair of nodes once.

    `flattened`: also those inside of nodes that have whole diagrams written out in them (the
    branches of a `parallel`), as `node/branch/inner`.
    """
    found = list(_direct(diagram, specs))
    if flattened:
        found += _inside(diagram, specs, depth=0)
    return tuple(found)


def _direct(diagram: ExecutableDiagram, specs: Specs) -> Iterator[Dependency]:
    writers = _writers(diagram, specs)
    for node in diagram.nodes:
        via: dict[int, list[str]] = {}
        for index in node.incoming:
            edge = diagram.edges[index]
            is_usual = edge.source_handle == _DEFAULT
            name = edge.input_name if is_usual else f"{edge.source_handle} → {edge.input_name}"
            via.setdefault(edge.source, []).append(name)
        for variable in _read(diagram, node):
            for writer in writers.get(variable, ()):
                if writer != node.index:
                    via.setdefault(writer, []).append(f"variable {variable}")
        for source in sorted(via):
            told = tuple(dict.fromkeys(via[source]))
            yield Dependency(node.key, diagram.nodes[source].key, told)


def _writers(diagram: ExecutableDiagram, specs: Specs) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for node in diagram.nodes:
        props = _props(node, specs)
        for variable in props.writes(node.label) if props is not None else ():
            found.setdefault(variable, []).append(node.index)
    return found


def _props(node: ExecutableNode, specs: Specs) -> NodeProps | None:
    spec = specs.get(node.type)
    if spec is None:
        return None
    try:
        return spec.props.model_validate(dict(node.props))
    except ValidationError:
        return None


def _read(diagram: ExecutableDiagram, node: ExecutableNode) -> list[str]:
    """Names in its templates and expressions that none of its inputs has, each once, in order."""
    inputs = {diagram.edges[index].input_name for index in node.incoming}
    names = [name for text in _texts(node.props) for name in _PLACEHOLDER.findall(text)]
    conditions = (diagram.edges[index].condition for index in node.outgoing)
    for source in (node.props.get("expression"), *conditions):
        if isinstance(source, str):
            names += _names(source)
    return [name for name in dict.fromkeys(names) if name not in inputs]


def _names(source: str) -> list[str]:
    try:
        return sorted(names_used(source))
    except ExpressionError:
        return []


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < _DEPTH_MAX and isinstance(value, Mapping | list | tuple):
        parts: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        for part in parts:
            yield from _texts(part, depth + 1)


# --- diagrams inside of nodes --------------------------------------------------------------------


def _inside(diagram: ExecutableDiagram, specs: Specs, depth: int) -> Iterator[Dependency]:
    for node in diagram.nodes:
        props = _props(node, specs) if depth < _DEPTH_MAX else None
        if props is None:
            continue
        for branch, within in props.branches_within().items():
            inner = _compiled(within, specs)
            if inner is None:
                continue
            prefix = f"{node.key}/{branch}/"
            found = [*_direct(inner, specs), *_inside(inner, specs, depth + 1)]
            for each in found:
                yield Dependency(prefix + each.node, prefix + each.depends_on, each.via)


def _compiled(within: Within, specs: Specs) -> ExecutableDiagram | None:
    """The diagram inside of a node; None where it is none that could run."""
    document = within.document
    try:
        content = document if isinstance(document, str) else json.dumps(document)
        loaded = read_diagram(content, specs=specs, format=format_of_fields(document))
        if loaded.diagram is None:
            return None
        return compile_diagram(loaded.diagram, specs).executable
    except (TypeError, ValueError, RecursionError, DiagramInvalid):
        return None
