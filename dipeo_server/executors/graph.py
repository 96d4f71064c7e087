"""Graph: nodes that are async functions or ask people, and the edges between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.diagram.spec import NodeSettings
from dipeo_server.executors.functions import START, check_async
from dipeo_server.executors.graph_errors import InvalidGraph, NodeNotFound
from dipeo_server.executors.graph_steps import NodeFunction, Predicate

Outcome = Literal["approved", "rejected", "skipped"]
BARRIER: Final = "barrier"
PARALLEL: Final = "parallel"
OUTCOMES: Final = ("approved", "rejected", "skipped")


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node: a function, or several side by side, or a barrier, which has none.

    `settings` are those of any node, and of its type.
    """

    name: str
    function: NodeFunction | None = None
    branches: Mapping[str, NodeFunction] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_barrier(self) -> bool:
        """Does it wait for a person?"""
        return self.function is None and not self.branches


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """One edge; `when` is an expression over the state, or a predicate of it.

    `on` says of an edge from a barrier which outcome it is for; None = an approval, or with a
    condition every outcome.
    """

    source: str
    target: str
    when: str | Predicate | None = None
    is_fallback: bool = False
    on: Outcome | None = None

    @property
    def predicate(self) -> Predicate | None:
        """The condition, if it is a function."""
        return self.when if callable(self.when) else None


class Graph:
    """A graph under construction; every method gives the graph back.

    It begins at the first node unless `start` names another. Nodes without outgoing edges end it,
    or those that `end` names.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.nodes: dict[str, GraphNode] = {}
        self.edges: list[GraphEdge] = []
        self._start: str | None = None
        self._ends: tuple[str, ...] = ()

    def node(self, name: str, function: NodeFunction, **settings: Any) -> Self:
        """Add a node. Settings: `timeout` (seconds), `retry`, `on_error`, `after_crash`, `fan_out`.

        Raises InvalidInput for what is no async function, InvalidGraph for a name that is taken and
        a setting that does not exist.
        """
        check_async(name, function)
        return self._add(GraphNode(name, function, settings=_known(settings)))

    def parallel(
        self,
        name: str,
        branches: Mapping[str, NodeFunction],
        *,
        error_strategy: Literal["fail_fast", "collect", "collect_partial"] = "fail_fast",
        **settings: Any,
    ) -> Self:
        """Add a node that runs several functions side by side, each with a copy of the state.

        Their changes are merged when all have ended, by the reducers of their keys: two changes of
        one key are a conflict unless its reducer is a commutative one of the engine's (add, min,
        max, union). `fail_fast`: the first failure ends the others; `collect`: all run to their
        ends; `collect_partial`: the good ones count. Raises InvalidInput, InvalidGraph.
        """
        for branch, function in branches.items():
            check_async(f"{name}/{branch}", function)
        if not branches:
            raise InvalidGraph(f"The parallel node {name!r} has no branches.")
        given = {**_known(settings), "error_strategy": error_strategy}
        return self._add(GraphNode(name, branches=dict(branches), settings=given))

    def barrier(
        self,
        name: str,
        prompt: str = "",
        *,
        timeout: float | None = None,
        default_action: Literal["approve", "reject", "skip"] = "reject",
        variable: str | None = None,
        answer_schema: Mapping[str, Any] | None = None,
    ) -> Self:
        """Add a node that waits for a person; `timeout` in seconds, None = for ever.

        The state takes the decision as `<variable>.approved`, `.reject_reason` or `.skipped`, where
        `variable` is the name unless given.
        """
        settings = {
            "prompt": prompt,
            "timeout": timeout,
            "default_action": default_action,
            "name": variable,
            "answer_schema": answer_schema,
        }
        given = {key: value for key, value in settings.items() if value is not None}
        return self._add(GraphNode(name, settings=given))

    def edge(
        self,
        source: str,
        target: str,
        *,
        when: str | Predicate | None = None,
        on: Outcome | None = None,
    ) -> Self:
        """Add an edge, followed if `when` holds; without a condition it is the normal one.

        An edge from a barrier is for its approval, `on` another outcome for that one.
        """
        self.edges.append(GraphEdge(source, target, when, on=on))
        return self

    def fallback(self, source: str, target: str) -> Self:
        """Add the edge for a failure, a Fallback, or when no other edge is followed."""
        self.edges.append(GraphEdge(source, target, is_fallback=True))
        return self

    def start(self, name: str) -> Self:
        """Begin at that node."""
        self._start = name
        return self

    def end(self, *names: str) -> Self:
        """End the run at these nodes, whatever edges they have."""
        self._ends = names
        return self

    # --- looking --------------------------------------------------------------------------------

    @property
    def start_node(self) -> str:
        """Where the graph begins. Raises InvalidGraph for an empty one."""
        if self._start is not None:
            return self._start
        if not self.nodes:
            raise InvalidGraph("The graph has no nodes.")
        return next(iter(self.nodes))

    @property
    def end_nodes(self) -> tuple[str, ...]:
        """Where the graph ends."""
        if self._ends:
            return self._ends
        sources = {edge.source for edge in self.edges}
        return tuple(name for name in self.nodes if name not in sources)

    @property
    def barriers(self) -> tuple[str, ...]:
        """The nodes that wait for a person."""
        return tuple(node.name for node in self.nodes.values() if node.is_barrier)

    def edges_from(self, source: str) -> list[GraphEdge]:
        """The edges of a node, in order."""
        return [edge for edge in self.edges if edge.source == source]

    def check(self) -> None:
        """Raises NodeNotFound, InvalidGraph."""
        for name in (self.start_node, *self._ends):
            self._find(name, "The graph names")
        for edge in self.edges:
            for name in (edge.source, edge.target):
                self._find(name, f"The edge {edge.source} → {edge.target} names")
            self._check_edge(edge)
        sources = {edge.source for edge in self.edges}
        for name in self.nodes:
            if name not in sources and name not in self.end_nodes:
                message = f"Node {name!r} has no outgoing edge and is not an end node."
                raise InvalidGraph(message, hint=f"Add an edge, or name it: graph.end({name!r}).")

    def _check_edge(self, edge: GraphEdge) -> None:
        source = self.nodes[edge.source]
        if edge.on is not None and (not source.is_barrier or edge.on not in OUTCOMES):
            message = f"The edge {edge.source} → {edge.target} is `on` {edge.on!r}."
            hint = f"`on` is for edges from barriers, and one of: {', '.join(OUTCOMES)}."
            raise InvalidGraph(message, hint=hint)
        if source.function is None and edge.predicate is not None:
            message = f"The condition of {edge.source} → {edge.target} is a function."
            hint = "Edges of a barrier or a parallel node have expressions: when='gate.approved'."
            raise InvalidGraph(message, hint=hint)

    def _find(self, name: str, who: str) -> None:
        if name not in self.nodes:
            message = f"{who} {name!r}, and there is no such node."
            raise NodeNotFound(message, hint=did_you_mean(name, self.nodes))

    def _add(self, node: GraphNode) -> Self:
        if node.name in self.nodes or not node.name or node.name == START:
            raise InvalidGraph(f"The name {node.name!r} is taken, or none.")
        self.nodes[node.name] = node
        return self


def _known(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for setting in settings:
        if setting not in NodeSettings.model_fields:
            hint = did_you_mean(setting, NodeSettings.model_fields)
            raise InvalidGraph(f"Nodes have no setting {setting!r}.", hint=hint)
    return settings
