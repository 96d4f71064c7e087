"""What a handler may see and use while its node runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.execution.children import SubDiagrams
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import (
    BranchCompleted,
    Failure,
    ParallelCompleted,
    ParallelStarted,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.output import (
    NO_TOKENS,
    HandlerResult,
    Message,
    NodeOutput,
    TokenUsage,
)
from dipeo_server.domains.execution.ports import Clock, CodeRunner, Files, LanguageModels, Secrets
from dipeo_server.domains.execution.saved_state import SavedState
from dipeo_server.domains.execution.status import NodeExecutionStatus


class NodeReporter(Protocol):
    """The source document's `ctx.state_store`: the engine owns statuses, so this only reports."""

    async def update_node_status(
        self,
        execution_id: str,
        node_id: str,
        status: NodeExecutionStatus,
        output: NodeOutput | None = None,
    ) -> None:
        """RUNNING changes nothing; COMPLETED is kept as an early result, used after a crash."""
        ...


class BranchSink(Protocol):
    """Takes what a parallel group tells of its branches."""

    def __call__(self, event: ParallelStarted | BranchCompleted | ParallelCompleted) -> None:
        """One event of this NodeRun; never blocks."""
        ...


class LogSink(Protocol):
    """Takes what a node prints."""

    def __call__(self, stream: str, text: str, *, level: str = "INFO") -> None:
        """One line; bounded, never blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Every port a handler may use."""

    clock: Clock
    files: Files
    code: CodeRunner
    models: LanguageModels
    sub_diagrams: SubDiagrams
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Visit:
    """The NodeRun a handler is called for, with everything it may use.

    `inputs` maps input names to values, resolved and transformed; `input_envelopes` holds the
    envelopes they came from; `executed` tells how often each node ran before.
    """

    node_run: NodeRun
    node: ExecutableNode
    inputs: Mapping[str, Any]
    input_envelopes: Mapping[str, Envelope]
    services: Services
    state_store: NodeReporter
    log: LogSink
    executed: Mapping[str, int] = field(default_factory=dict)
    conversation: tuple[Message, ...] = ()
    tell_branch: BranchSink | None = None


class ExecutionContext:
    """Runtime context of one execution (source document 002), and of one NodeRun for its handler.

    `variables` are the execution's, read-only in a handler: change them with `put`.
    """

    def __init__(
        self,
        diagram: ExecutableDiagram,
        execution_id: str,
        *,
        node_outputs: Mapping[str, Envelope] | None = None,
        variables: Mapping[str, Any] | None = None,
        visit: Visit | None = None,
    ) -> None:
        self.diagram = diagram
        self.execution_id = ExecutionID(execution_id)
        self.node_outputs: Mapping[str, Envelope] = {} if node_outputs is None else node_outputs
        self.variables: Mapping[str, Any] = {} if variables is None else variables
        self.metadata: dict[str, Any] = {}
        self.failed_nodes: set[str] = set()
        self.deltas: list[StateDelta] = []
        self.observed: list[Failure] = []
        self.spent = NO_TOKENS
        self._visit = visit

    @property
    def completed_nodes(self) -> set[str]:
        """Keys of the nodes that have an output and have not failed."""
        return set(self.node_outputs) - self.failed_nodes

    @property
    def scope(self) -> Mapping[str, Any]:
        """What templates and conditions see: variables, and under `nodes` every output's body."""
        bodies = {key: envelope.body for key, envelope in self.node_outputs.items()}
        return {"nodes": bodies, **self.variables}

    def store_output(self, node_id: str, output: Envelope) -> None:
        """Keep a node's result; an error marks the node as failed. Raises KeyError."""
        key = self.diagram.get_node(node_id).key
        self.node_outputs = {**self.node_outputs, key: output}
        if output.has_error():
            self.failed_nodes.add(key)

    def get_output(self, node_id: str) -> Envelope | None:
        """The node's last message, or None."""
        return self.node_outputs.get(node_id)

    def to_state(self) -> SavedState:
        """Everything it holds, as a value for an ExecutionStateManager."""
        return SavedState(
            execution_id=self.execution_id,
            diagram=self.diagram,
            node_outputs=dict(self.node_outputs),
            variables=dict(self.variables),
            metadata=dict(self.metadata),
            failed_nodes=frozenset(self.failed_nodes),
        )

    @classmethod
    def from_state(cls, state: SavedState) -> Self:
        """A context that goes on from a saved state."""
        context = cls(
            state.diagram,
            state.execution_id,
            node_outputs=dict(state.node_outputs),
            variables=dict(state.variables),
        )
        context.metadata.update(state.metadata)
        context.failed_nodes.update(state.failed_nodes)
        return context

    @property
    def visit(self) -> Visit:
        """The NodeRun at hand. Raises RuntimeError outside a handler."""
        if self._visit is None:
            raise RuntimeError("This context belongs to no NodeRun.")
        return self._visit

    @property
    def node_run(self) -> NodeRun:
        """Which visit of which node this is."""
        return self.visit.node_run

    @property
    def node(self) -> ExecutableNode:
        """The compiled node: edges, ports, settings."""
        return self.visit.node

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Input values by name."""
        return self.visit.inputs

    @property
    def input_envelopes(self) -> Mapping[str, Envelope]:
        """The envelopes the inputs came from, by input name."""
        return self.visit.input_envelopes

    @property
    def conversation(self) -> tuple[Message, ...]:
        """Everything said so far in this execution."""
        return self.visit.conversation

    @property
    def services(self) -> Services:
        """The ports."""
        return self.visit.services

    @property
    def files(self) -> Files:
        """The file port."""
        return self.visit.services.files

    @property
    def secrets(self) -> Secrets:
        """What references such as `secret://name` stand for."""
        return self.visit.services.secrets

    @property
    def state_store(self) -> NodeReporter:
        """Where the source document's handlers report their status."""
        return self.visit.state_store

    @property
    def log(self) -> LogSink:
        """Call it with (stream, text) to add a log line."""
        return self.visit.log

    def tell_branch(self, event: ParallelStarted | BranchCompleted | ParallelCompleted) -> None:
        """Record how the branches of this NodeRun fare, while it runs."""
        if self.visit.tell_branch is not None:
            self.visit.tell_branch(event)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this visit: send it with effects outside."""
        return f"{self.execution_id}/{self.node_run.node}/{self.node_run.occurrence}"

    def get_node_output(self, node_id: str) -> NodeOutput | None:
        """The last output of another node, by key; None if it has not run."""
        envelope = self.node_outputs.get(node_id)
        if envelope is None:
            return None
        by_port = envelope.meta.get("by_port") and isinstance(envelope.body, dict)
        value = envelope.body if by_port else {"default": envelope.body}
        return NodeOutput(value, envelope.meta, envelope.content_type)

    def executed(self, node_key: str) -> int:
        """How often that node has been executed before this visit."""
        return self.visit.executed.get(node_key, 0)

    def put(self, key: str, value: Any, *, reducer: str | None = None) -> None:
        """Change an execution variable when this NodeRun ends."""
        self.deltas.append(StateDelta({key: value}, reducer=reducer))

    def delete(self, key: str) -> None:
        """Remove an execution variable when this NodeRun ends."""
        self.deltas.append(StateDelta(deletes=(key,)))

    def spend(self, usage: TokenUsage) -> None:
        """Count tokens that were used for this NodeRun, however it ends."""
        self.spent += usage

    def observe(self, code: str, message: str, *, hint: str | None = None) -> None:
        """Record something that went wrong and does not fail the node."""
        self.observed.append(Failure(code, message, self.node_run.node, hint=hint))

    async def sleep(self, seconds: float) -> None:
        """Wait inside the handler (lost at a crash; the delay node keeps its deadline)."""
        await self.services.clock.sleep(seconds)


__all__ = [
    "BranchSink",
    "ExecutionContext",
    "HandlerResult",
    "LogSink",
    "NodeReporter",
    "Services",
    "Visit",
]
