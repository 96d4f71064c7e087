"""From a diagram and the node types to what an execution runs: validated, indexed, hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dipeo_server.domains.diagram.executable import (
    Block,
    EdgeKind,
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
    ExecutablePerson,
    FanOut,
    JoinPolicy,
    OnError,
    RetryPolicy,
)
from dipeo_server.domains.diagram.loops import Link, LoopForest, Shape, build_forest
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.node_settings import settings_of
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeProps, NodeSettings, NodeSpec
from dipeo_server.domains.diagram.validate import CheckExpression, validate

DEFAULT_VISITS = 100


@dataclass(frozen=True, slots=True)
class Compiled:
    """A diagram that can run, with the warnings it earned."""

    executable: ExecutableDiagram
    warnings: tuple[DiagramProblem, ...]


def compile_diagram(
    diagram: DomainDiagram,
    specs: Mapping[str, NodeSpec],
    check_expression: CheckExpression | None = None,
) -> Compiled:
    """What an execution of this diagram runs. Raises DiagramInvalid with every problem found."""
    problems = list(validate(diagram, specs, check_expression=check_expression))
    if any(problem.is_error for problem in problems):
        raise DiagramInvalid(problems)
    executable, ambiguous = assemble(diagram, specs)
    repeated = validate(
        diagram,
        specs,
        check_expression=check_expression,
        back_edges=frozenset(edge.key for edge in executable.edges if edge.back_of is not None),
    )
    return Compiled(executable, (*repeated, *ambiguous))


def assemble(
    diagram: DomainDiagram, specs: Mapping[str, NodeSpec]
) -> tuple[ExecutableDiagram, tuple[DiagramProblem, ...]]:
    """The compiled form of a diagram that is valid, and warnings about chosen loop headers."""
    nodes = [_node(index, node, specs) for index, node in enumerate(diagram.nodes)]
    position = {node.key: node.index for node in nodes}
    edges = [_edge(index, edge, position) for index, edge in enumerate(diagram.edges)]
    forest = build_forest(_shape(diagram, specs, nodes, edges))
    placed = _placed_edges(edges, nodes, forest)
    executable = ExecutableDiagram(
        nodes=_placed_nodes(nodes, placed, forest),
        edges=placed,
        blocks=_blocks(forest),
        content_hash=content_hash(diagram),
        name=diagram.name,
        description=diagram.description,
        path=diagram.path,
        persons=tuple(_person(person) for person in diagram.persons),
        reducers=_reducers(diagram),
    )
    return executable, tuple(_header_warning(diagram, choice) for choice in forest.ambiguous)


def content_hash(diagram: DomainDiagram) -> str:
    """Hash of keys, types, props, edges and persons; not of positions, names or format."""
    document = {
        "nodes": [[node.key, node.type, node.props] for node in diagram.nodes],
        "edges": [
            [
                edge.source,
                edge.source_handle,
                edge.target,
                edge.target_handle,
                edge.label,
                edge.content_type,
                edge.kind,
                edge.condition,
                edge.priority,
                edge.transform,
                edge.data,
            ]
            for edge in diagram.edges
        ],
        "persons": [
            [p.key, p.service, p.model, p.system_prompt, p.prompt_file, p.api_key_id]
            for p in diagram.persons
        ],
        "reducers": _reducers(diagram),
    }
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# --- nodes and edges ----------------------------------------------------------------------------


def _node(
    index: int, node: DomainNode[Mapping[str, Any]], specs: Mapping[str, NodeSpec]
) -> ExecutableNode:
    spec = specs.get(node.type)
    settings = settings_of(node, spec)
    base = ExecutableNode(
        index=index,
        key=node.key,
        id=node.id,
        type=node.type,
        label=node.label,
        props=dict(node.props),
        position=node.position,
        join=settings.join,
        k=settings.k,
        fan_out=settings.fan_out,
        retry=_retry(settings),
        timeout=settings.timeout,
        on_error=_on_error(settings),
        max_iteration=settings.max_iteration or DEFAULT_VISITS,
        is_start=node.type == "start",
        is_endpoint=node.type == "endpoint",
        may_end=settings.may_end,
    )
    if spec is None:
        return replace(base, is_available=False)
    props: NodeProps = spec.props.model_validate(node.props)
    return replace(
        base,
        after_crash=settings.after_crash or props.crash_policy() or spec.after_crash,
        is_pure=spec.is_pure,
        branches=spec.branches,
        ports=spec.ports.outputs,
    )


def _retry(settings: NodeSettings) -> RetryPolicy:
    retry = settings.retry
    return RetryPolicy() if retry is None else RetryPolicy(**retry.model_dump())


def _on_error(settings: NodeSettings) -> OnError:
    on_error = settings.on_error
    return OnError() if on_error is None else OnError(**on_error.model_dump())


def _edge(index: int, edge: DomainEdge, position: Mapping[str, int]) -> ExecutableEdge:
    return ExecutableEdge(
        index=index,
        key=edge.key,
        source=position[edge.source],
        source_handle=edge.source_handle,
        target=position[edge.target],
        target_handle=edge.target_handle,
        input_name=edge.label or edge.target_handle,
        label=edge.label,
        kind=edge.kind,
        condition=edge.condition,
        priority=edge.priority,
        content_type=edge.content_type,
        transform=edge.transform,
    )


def _person(person: DomainPerson) -> ExecutablePerson:
    return ExecutablePerson(
        key=person.key,
        label=person.label,
        service=person.service,
        model=person.model,
        system_prompt=person.system_prompt,
        prompt_file=person.prompt_file,
        api_key_id=person.api_key_id,
    )


def _reducers(diagram: DomainDiagram) -> dict[str, str]:
    reducers = diagram.metadata.get("reducers")
    return dict(reducers) if isinstance(reducers, Mapping) else {}


# --- the loop forest on nodes and edges ---------------------------------------------------------


def _shape(
    diagram: DomainDiagram,
    specs: Mapping[str, NodeSpec],
    nodes: list[ExecutableNode],
    edges: list[ExecutableEdge],
) -> Shape:
    headers = frozenset(
        node.index
        for node in nodes
        if settings_of(diagram.nodes[node.index], specs.get(node.type)).loop_header
    )
    return Shape(
        size=len(nodes),
        links=tuple(Link(edge.source, edge.source_handle, edge.target) for edge in edges),
        starts=tuple(node.index for node in nodes if node.is_start),
        endpoints=frozenset(node.index for node in nodes if node.is_endpoint),
        conditions=frozenset(node.index for node in nodes if node.branches),
        chosen_headers=headers,
    )


def _placed_edges(
    edges: list[ExecutableEdge], nodes: list[ExecutableNode], forest: LoopForest
) -> tuple[ExecutableEdge, ...]:
    guards = _guards(edges, nodes, forest)
    return tuple(
        replace(
            edge,
            back_of=forest.back_of[edge.index],
            entering=forest.entering[edge.index],
            exit_of=forest.exit_of[edge.index],
            may_die=edge.index in guards,
        )
        for edge in edges
    )


def _guards(
    edges: list[ExecutableEdge], nodes: list[ExecutableNode], forest: LoopForest
) -> set[int]:
    """Forward edges that can be dead by choice: from a choice, or from what a choice may skip."""
    forward = [edge for edge in edges if _is_forward(edge, forest)]
    incoming: dict[int, list[ExecutableEdge]] = {}
    outgoing: dict[int, list[ExecutableEdge]] = {}
    for edge in forward:
        incoming.setdefault(edge.target, []).append(edge)
        outgoing.setdefault(edge.source, []).append(edge)
    found = {edge.index for edge in forward if _is_choice(edge, nodes[edge.source])}
    pending = [edges[index].target for index in found]
    while pending:
        node = nodes[pending.pop()]
        if not _may_be_skipped(node, incoming[node.index], found, forest):
            continue
        for edge in outgoing.get(node.index, ()):
            if edge.index not in found:
                found.add(edge.index)
                pending.append(edge.target)
    return found


def _is_forward(edge: ExecutableEdge, forest: LoopForest) -> bool:
    return forest.is_alive[edge.index] and forest.back_of[edge.index] is None


def _may_be_skipped(
    node: ExecutableNode, incoming: list[ExecutableEdge], dying: set[int], forest: LoopForest
) -> bool:
    """Can the node's join fail because some of its edges are dead by choice?

    Edges into a loop bring nothing once the loop goes on, so a join that counts cannot rely on
    them; only for the header that is no matter, since it runs in every later turn anyway.
    """
    if node.join is JoinPolicy.ALL:
        return any(edge.index in dying for edge in incoming)
    needed = node.k if node.join is JoinPolicy.K_OF_N else 1
    sure = [
        edge
        for edge in incoming
        if edge.index not in dying
        and all(forest.loops[loop].header == node.index for loop in forest.entering[edge.index])
    ]
    return len(sure) < needed


def _is_choice(edge: ExecutableEdge, source: ExecutableNode) -> bool:
    return (
        source.branches
        or edge.kind is not EdgeKind.ALWAYS
        or edge.source_handle != "default"
        or source.fan_out is FanOut.FIRST
    )


def _placed_nodes(
    nodes: list[ExecutableNode], edges: tuple[ExecutableEdge, ...], forest: LoopForest
) -> tuple[ExecutableNode, ...]:
    incoming: list[list[int]] = [[] for _ in nodes]
    outgoing: list[list[int]] = [[] for _ in nodes]
    for edge in edges:
        if forest.is_alive[edge.index]:
            incoming[edge.target].append(edge.index)
            outgoing[edge.source].append(edge.index)
    return tuple(
        replace(
            node,
            incoming=tuple(incoming[node.index]),
            outgoing=tuple(outgoing[node.index]),
            block=forest.loop_of[node.index],
        )
        for node in nodes
    )


def _blocks(forest: LoopForest) -> tuple[Block, ...]:
    members: list[list[int]] = [[] for _ in forest.loops]
    for node, loop in enumerate(forest.loop_of):
        if loop is not None:
            members[loop].append(node)
    exits: list[list[int]] = [[] for _ in forest.loops]
    for number, left in enumerate(forest.exit_of):
        if left is not None:
            exits[left].append(number)
    return tuple(
        Block(
            index=loop.index,
            parent=loop.parent.index if loop.parent else None,
            header=loop.header,
            nodes=tuple(members[loop.index]),
            children=tuple(child.index for child in loop.children),
            back_edges=tuple(loop.back),
            exits=tuple(exits[loop.index]),
        )
        for loop in forest.loops
    )


def _header_warning(diagram: DomainDiagram, choice: tuple[int, tuple[int, ...]]) -> DiagramProblem:
    header, entries = choice
    names = ", ".join(diagram.nodes[entry].key for entry in entries)
    chosen = diagram.nodes[header]
    return DiagramProblem(
        Severity.WARNING,
        "LOOP_HEADER_CHOSEN",
        f"A loop has several entries ({names}); its turns begin at {chosen.key!r}.",
        hint="Write `loop_header: true` on the node where a turn of the loop should begin.",
        node=chosen.key,
        location=chosen.location,
    )
