"""Execution strategies by node type: source document 002's way to call a handler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.context import (
    ExecutionContext,
    LogSink,
    NodeReporter,
    Services,
    Visit,
)
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.results import envelope_of
from dipeo_server.domains.execution.output import NodeOutput
from dipeo_server.domains.execution.registry import HandlerRegistry, Registration
from dipeo_server.errors import NodeTypeUnavailable


class NodeStrategyProtocol(Protocol):
    """Runs nodes of the types it can handle."""

    def can_handle(self, node_type: str) -> bool:
        """Is this type its own?"""
        ...

    async def execute(
        self, node: ExecutableNode, context: ExecutionContext, inputs: Mapping[str, Any]
    ) -> Envelope:
        """The node's message for these inputs. Raises NodeError."""
        ...


class StrategyRegistry:
    """Strategies; the first that can handle a type is taken."""

    def __init__(self, strategies: Iterable[NodeStrategyProtocol] = ()) -> None:
        self._strategies = list(strategies)

    def register(self, strategy: NodeStrategyProtocol) -> None:
        """Add one, behind those that are there."""
        self._strategies.append(strategy)

    def get_strategy(self, node_type: str) -> NodeStrategyProtocol:
        """The strategy of that type. Raises NodeTypeUnavailable."""
        for strategy in self._strategies:
            if strategy.can_handle(node_type):
                return strategy
        message = f"No strategy can handle node type {node_type!r}."
        raise NodeTypeUnavailable(message, hint="Register one, or a handler for the type.")

    @classmethod
    def of_handlers(cls, registry: HandlerRegistry, tools: HandlerTools) -> StrategyRegistry:
        """A strategy for every registered node type."""
        entries = (registry.get(type_) for type_ in registry.specs)
        return cls(HandlerStrategy(entry, tools) for entry in entries if entry is not None)


class HandlerTools(Protocol):
    """What a handler needs besides its node and its inputs."""

    services: Services
    state_store: NodeReporter
    log: LogSink


class HandlerStrategy:
    """A registered handler as a strategy. It serves handlers that answer at once."""

    def __init__(self, entry: Registration, tools: HandlerTools) -> None:
        self._entry = entry
        self._tools = tools

    def can_handle(self, node_type: str) -> bool:
        """Is it the handler's own type?"""
        return node_type == self._entry.spec.type

    async def execute(
        self, node: ExecutableNode, context: ExecutionContext, inputs: Mapping[str, Any]
    ) -> Envelope:
        """Call the handler. Raises NodeError where it waits for a person or a timer."""
        run = NodeRun(node.key, 1)
        visit = Visit(
            node_run=run,
            node=node,
            inputs=inputs,
            input_envelopes={},
            services=self._tools.services,
            state_store=self._tools.state_store,
            log=self._tools.log,
        )
        own = ExecutionContext(
            context.diagram,
            context.execution_id,
            node_outputs=context.node_outputs,
            variables=context.variables,
            visit=visit,
        )
        props = self._entry.spec.props.model_validate(node.props)
        domain_node = DomainNode(node.key, node.key, node.type, node.label, props, node.position)
        result = await self._entry.handler(domain_node, own)
        if not isinstance(result, NodeOutput):
            message = f"{node.key!r} waits, and only a runner can wait for it."
            raise NodeTypeUnavailable(message, hint="Run the diagram on a server.")
        return envelope_of(node, run, result, self._tools.services.clock.now())[0]
