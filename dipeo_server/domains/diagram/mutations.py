"""Changing a compiled diagram: nodes and edges put in and taken out, then compiled as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, assert_never

from dipeo_server.domains.diagram.compile import Compiled, compile_diagram
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.formats.content_types import with_content_types
from dipeo_server.domains.diagram.formats.inline import from_inputs
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.model import (
    DomainDiagram,
    DomainEdge,
    DomainNode,
    DomainPerson,
)
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.diagram.validate import CheckExpression

MUTATIONS_MAX: Final = 1_000

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UpsertNode:
    """Put a node in, or in the place of the one with its key; `fields` as `from_inputs` has it."""

    fields: Raw


@dataclass(frozen=True, slots=True)
class DeleteNode:
    """Take a node out, and every edge that begins or ends there."""

    key: str


@dataclass(frozen=True, slots=True)
class UpsertEdge:
    """Put an edge in, or in the place of the one with its key; `fields` as `from_inputs` has it.

    Without a key it is the one between the same handles, if there is one.
    """

    fields: Raw


@dataclass(frozen=True, slots=True)
class DeleteEdge:
    """Take an edge out."""

    key: str


GraphMutation: TypeAlias = UpsertNode | DeleteNode | UpsertEdge | DeleteEdge


def apply_mutations(
    diagram: ExecutableDiagram,
    mutations: Sequence[GraphMutation],
    specs: Mapping[str, NodeSpec],
    check_expression: CheckExpression | None = None,
) -> Compiled:
    """The diagram with the mutations, one after the other; itself if they change nothing.

    Raises DiagramInvalid with everything that is wrong, naming mutations by their index.
    """
    changing = _Changing(document_of(diagram), specs)
    for index, mutation in enumerate(mutations[:MUTATIONS_MAX]):
        changing.apply(index, mutation)
    if len(mutations) > MUTATIONS_MAX:
        changing.problem("TOO_MANY_MUTATIONS", f"At most {MUTATIONS_MAX} at once.")
    if changing.problems:
        raise DiagramInvalid(changing.problems)
    try:
        compiled = compile_diagram(changing.changed(), specs, check_expression)
    except DiagramInvalid as invalid:
        raise DiagramInvalid([changing.placed(each) for each in invalid.problems]) from invalid
    # What a document has beyond its compiled form counts in its hash, and is no change.
    is_same = replace(compiled.executable, content_hash=diagram.content_hash) == diagram
    return replace(compiled, executable=diagram) if is_same else compiled


def document_of(executable: ExecutableDiagram) -> DomainDiagram:
    """The diagram that was compiled, as far as the compiled form holds it."""
    keys = [node.key for node in executable.nodes]
    return DomainDiagram(
        nodes=tuple(
            DomainNode(node.key, node.id, node.type, node.label, node.props, node.position)
            for node in executable.nodes
        ),
        edges=tuple(
            DomainEdge(
                key=edge.key,
                source=keys[edge.source],
                target=keys[edge.target],
                source_handle=edge.source_handle,
                target_handle=edge.target_handle,
                label=edge.label,
                content_type=edge.content_type,
                kind=edge.kind,
                condition=edge.condition,
                priority=edge.priority,
                transform=edge.transform,
            )
            for edge in executable.edges
        ),
        persons=tuple(
            DomainPerson(
                key=person.key,
                label=person.label,
                service=person.service,
                model=person.model,
                system_prompt=person.system_prompt,
                prompt_file=person.prompt_file,
                api_key_id=person.api_key_id,
            )
            for person in executable.persons
        ),
        name=executable.name,
        description=executable.description,
        path=executable.path,
        metadata={"reducers": dict(executable.reducers)} if executable.reducers else {},
    )


class _Changing:
    """A document while it is changed; `touched` says by which mutation, by node or edge key."""

    def __init__(self, document: DomainDiagram, specs: Mapping[str, NodeSpec]) -> None:
        self.problems: list[DiagramProblem] = []
        self._document = document
        self._specs = specs
        self._nodes = {node.key: node for node in document.nodes}
        self._edges = {edge.key: edge for edge in document.edges}
        self._touched: dict[tuple[str, str], int] = {}
        self._index = 0

    def apply(self, index: int, mutation: GraphMutation) -> None:
        self._index = index
        match mutation:
            case UpsertNode(fields=fields):
                self._upsert_node(fields)
            case DeleteNode(key=key):
                self._delete_node(key)
            case UpsertEdge(fields=fields):
                self._upsert_edge(fields)
            case DeleteEdge(key=key):
                if self._edges.pop(key, None) is None:
                    self._unknown("edge", key, self._edges)
            case _ as unreachable:
                assert_never(unreachable)

    def changed(self) -> DomainDiagram:
        """The document as it is now."""
        conditions = frozenset(n.key for n in self._nodes.values() if n.type == "condition")
        edges = tuple(self._edges.values())
        typed = with_content_types(edges, conditions)
        chosen = tuple(
            new if ("edge", edge.key) in self._touched else edge
            for edge, new in zip(edges, typed, strict=True)
        )
        return replace(self._document, nodes=tuple(self._nodes.values()), edges=chosen)

    def placed(self, problem: DiagramProblem) -> DiagramProblem:
        """The problem, with the mutation that last touched what it is about."""
        index = self._touched.get(("node", problem.node or ""))
        index = self._touched.get(("edge", problem.edge or ""), index)
        if index is None:
            return problem
        return replace(problem, message=f"mutations[{index}]: {problem.message}")

    def problem(
        self, code: str, message: str, hint: str | None = None, node: str | None = None
    ) -> None:
        self.problems.append(DiagramProblem(Severity.ERROR, code, message, hint, node))

    def _unknown(self, what: str, key: str, known: Mapping[str, object]) -> None:
        message = f"mutations[{self._index}]: the diagram has no {what} {key!r}."
        code = "UNKNOWN_NODE" if what == "node" else "UNKNOWN_EDGE"
        self.problem(code, message, did_you_mean(key, known))

    def _read(self, loaded: Loaded) -> DomainDiagram | None:
        for each in loaded.problems:
            if each.is_error:
                message = f"mutations[{self._index}]: {each.message}"
                self.problems.append(replace(each, message=message))
        return None if loaded.has_errors else loaded.diagram

    def _upsert_node(self, fields: Raw) -> None:
        read = self._read(from_inputs([fields], [], specs=self._specs))
        if read is None:
            return
        node = read.nodes[0]
        before = self._nodes.get(node.key)
        if before is not None:
            node = replace(node, id=before.id, position=node.position or before.position)
        self._nodes[node.key] = node
        self._touched["node", node.key] = self._index

    def _delete_node(self, key: str) -> None:
        if self._nodes.pop(key, None) is None:
            self._unknown("node", key, self._nodes)
            return
        for edge in [each for each in self._edges.values() if key in (each.source, each.target)]:
            del self._edges[edge.key]
            self._touched["node", edge.source if edge.target == key else edge.target] = self._index

    def _upsert_edge(self, fields: Raw) -> None:
        ends = [str(fields.get(name)) for name in ("source", "target")]
        unknown = [end for end in dict.fromkeys(ends) if end not in self._nodes]
        for end in unknown:
            self._unknown("node", end, self._nodes)
        if unknown:
            return
        stubs = [{"key": end, "type": self._nodes[end].type} for end in dict.fromkeys(ends)]
        read = self._read(from_inputs(stubs, [fields], specs=self._specs))
        if read is None:
            return
        edge = read.edges[0]
        if fields.get("content_type") is None:
            edge = replace(edge, content_type=None)
        if fields.get("key") is None:
            edge = replace(edge, key=self._key_for(edge))
        self._edges[edge.key] = edge
        self._touched["edge", edge.key] = self._index

    def _key_for(self, edge: DomainEdge) -> str:
        for other in self._edges.values():
            if _handles(other) == _handles(edge):
                return other.key
        number = len(self._edges)
        while f"arrow_{number}" in self._edges:
            number += 1
        return f"arrow_{number}"


def _handles(edge: DomainEdge) -> tuple[str, str, str, str]:
    return edge.source, edge.source_handle, edge.target, edge.target_handle
