"""The nodes of a Graph as handlers: what a step changes, and which way it goes on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.diagram.spec import NodeProps
from dipeo_server.domains.execution import output as results
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.delta import ReducerFailed, ReducerRegistry, reduce_value
from dipeo_server.domains.execution.expression import evaluate
from dipeo_server.domains.execution.output import HandlerResult, create_node_output
from dipeo_server.domains.execution.registry import AnyHandler, Registration
from dipeo_server.domains.execution.routing import Unrouted
from dipeo_server.errors import NodeError
from dipeo_server.executors.functions import registration, told_without
from dipeo_server.executors.graph import Graph, GraphEdge
from dipeo_server.executors.graph_steps import (
    End,
    Fallback,
    GoTo,
    GoToNext,
    NodeFunction,
    StateView,
    Step,
)
from dipeo_server.executors.secret_values import Secrets

Reduce: TypeAlias = Callable[[Any, Any], Any]
"""Merges the value that is there with a new one."""

_NO_SECRETS = Secrets({})


class NoStep(NodeError):
    """A node returned something that says neither what changes nor where to go on."""

    code = "CODE_ERROR"
    default_hint = "Return a map of changes, GoTo, End, Fallback, a Step, or nothing."


@dataclass(frozen=True, slots=True)
class Reducers:
    """How values meet, by key of the state: a name of the engine's, or a function of one's own."""

    names: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, Reduce] = field(default_factory=dict)

    def merged(self, key: str, old: Any, new: Any) -> Any:
        """The value that is there after a put. Raises ReducerFailed, naming the key."""
        own = self.functions.get(key)
        if own is None:
            return reduce_value(ReducerRegistry().get(self.names.get(key)), key, old, new)
        if old is None:
            return new
        try:
            return own(old, new)
        except Exception as error:
            message = f"The reducer of {key!r} cannot merge {old!r} with {new!r}: {error}."
            raise ReducerFailed(message) from error

    def own(self, key: str) -> bool:
        """Is it a function of one's own, that the engine does not know?"""
        return key in self.functions


def node_types(graph: Graph, reducers: Reducers) -> Iterator[Registration]:
    """A node type for each function of the graph."""
    for node in graph.nodes.values():
        if node.function is not None:
            is_end = node.name in graph.end_nodes
            edges = () if is_end else graph.edges_from(node.name)
            step = GraphStep(reducers, node.name, node.function, edges, is_end=is_end)
            yield _registered(step)
        for branch, function in node.branches.items():
            yield _registered(GraphStep(reducers, branch_name(node.name, branch), function))


def branch_name(node: str, branch: str) -> str:
    """The name of the function of one branch."""
    return f"{node}/{branch}"


def _registered(step: GraphStep) -> Registration:
    return registration(step.name, _handler(step), inspect.getdoc(step.function) or "")


def _handler(step: GraphStep) -> AnyHandler:
    async def handle(_node: DomainNode[NodeProps], context: ExecutionContext) -> HandlerResult:
        return await step.take(context)

    return handle


class GraphStep:
    """One function node: calls the function, applies what it changes, finds the way on."""

    def __init__(
        self,
        reducers: Reducers,
        name: str,
        function: NodeFunction,
        edges: Sequence[GraphEdge] = (),
        *,
        is_end: bool = False,
    ) -> None:
        """`is_end`: the run is over behind it, whatever it returns."""
        self.name = name
        self.function = function
        self._reducers = reducers
        self._edges = edges
        self._chooses = any(edge.predicate is not None for edge in edges)
        self._is_end = is_end

    async def take(self, context: ExecutionContext) -> HandlerResult:
        """The step as a handler's result."""
        try:
            result = await self.function(StateView(context.variables, context))
        except Exception as error:  # noqa: BLE001 - any of them is the failure of the node.
            raise told_without(_NO_SECRETS, error) from None
        nothing = create_node_output({"default": None})
        if isinstance(result, Fallback):
            self._apply(Step(result.puts), context)
            return results.Fallback(result.reason, nothing)
        step = self._step(result)
        state = self._apply(step, context)
        if isinstance(step.next, End):
            return results.End(nothing)
        if self._is_end:
            return nothing
        if isinstance(step.next, GoTo):
            return results.Goto(step.next.target, nothing)
        if self._chooses:
            return results.Goto(self._way(StateView(state, context)), nothing)
        return nothing

    def _step(self, result: object) -> Step:
        match result:
            case None:
                return Step()
            case Step():
                return result
            case GoTo() | GoToNext() | End():
                return Step(next=result)
            case Mapping():
                return Step(puts=result)
            case _:
                kind = type(result).__name__
                raise NoStep(f"Node {self.name!r} returned {kind}, which is no step.")

    def _apply(self, step: Step, context: ExecutionContext) -> dict[str, Any]:
        """Hand the changes over to the engine; the state as they make it."""
        state = dict(context.variables)
        for key, new in step.puts.items():
            state[key] = self._reducers.merged(key, state.get(key), new)
            if self._reducers.own(key):
                context.put(key, state[key], reducer="last_write")
            else:
                context.put(key, new)
        for key in step.deletes:
            state.pop(key, None)
            context.delete(key)
        for code, message in step.observed.items():
            context.observe(code, message)
        return state

    def _way(self, state: StateView) -> str:
        """Where the edges lead, each condition evaluated at most once. Raises Unrouted."""
        tried: list[str] = []
        for edge in self._edges:
            if edge.when is not None:
                value = _value(edge, state)
                if value:
                    return edge.target
                tried.append(f"{_text(edge)} = {value!r}")
        for edge in sorted(self._edges, key=lambda each: each.is_fallback):
            if edge.when is None:
                return edge.target
        message = f"No edge of {self.name!r} holds: {'; '.join(tried)}."
        raise Unrouted(message, hint="Add an edge without a condition, or a fallback.")


def _value(edge: GraphEdge, state: StateView) -> Any:
    if edge.predicate is None:
        return evaluate(str(edge.when), dict(state))
    try:
        return edge.predicate(state)
    except Exception as error:  # noqa: BLE001 - any of them is the failure of the node.
        raise told_without(_NO_SECRETS, error) from None


def _text(edge: GraphEdge) -> str:
    if edge.predicate is None:
        return str(edge.when)
    return getattr(edge.predicate, "__name__", type(edge.predicate).__name__)
