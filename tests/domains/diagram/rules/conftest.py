"""A short way to write a diagram down and to see what the rules say of it."""

from collections.abc import Mapping
from typing import Any

import pytest

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.diagram.validate import CheckExpression, validate

# The first letter of a node's name says its type.
LETTERS = {"s": "start", "e": "endpoint", "c": "condition", "p": "person_job", "g": "barrier"}
PORTS = {"t": "condtrue", "f": "condfalse", "a": "approved", "r": "rejected", "x": "error"}


class Judge:
    """Judges diagrams of edges such as `c.t>b`; node props by name, edge fields by edge text."""

    def __init__(self, specs: Mapping[str, NodeSpec]) -> None:
        self.specs = specs
        self.check: CheckExpression | None = None

    def diagram(
        self, text: str, /, fields: Mapping[str, Any] | None = None, **props: Any
    ) -> DomainDiagram:
        edges = []
        names = dict.fromkeys(props)
        for number, written in enumerate(text.split()):
            ends, target = written.split(">")
            source, _, port = ends.partition(".")
            names |= dict.fromkeys((source, target))
            more = dict((fields or {}).get(written, {}))
            if "kind" in more:
                more["kind"] = EdgeKind(more["kind"])
            handle = PORTS.get(port, port) or "default"
            edges.append(DomainEdge(f"{number}:{written}", source, target, handle, **more))
        nodes: list[DomainNode[Mapping[str, Any]]] = []
        for name in names:
            bag = dict(props.get(name, {}))
            type_ = bag.pop("type", LETTERS.get(name[0], "db"))
            nodes.append(DomainNode(name, name, type_, name, bag))
        return DomainDiagram(tuple(nodes), tuple(edges), (DomainPerson("Ann", "Anna"),))

    def __call__(
        self,
        text: str,
        /,
        *codes: str,
        back: str | None = "",
        fields: Mapping[str, Any] | None = None,
        **props: Any,
    ) -> list[DiagramProblem]:
        """The problems with one of these codes; `back` names back edges as they are written."""
        diagram = self.diagram(text, fields, **props)
        keys = {edge.key.partition(":")[2]: edge.key for edge in diagram.edges}
        back_edges = None if back is None else frozenset(keys[edge] for edge in back.split())
        found = validate(diagram, self.specs, check_expression=self.check, back_edges=back_edges)
        return [problem for problem in found if problem.code in codes]


@pytest.fixture
def judge(specs: Mapping[str, NodeSpec]) -> Judge:
    return Judge(specs)
