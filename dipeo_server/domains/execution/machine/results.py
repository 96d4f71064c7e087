"""What a NodeRun's result becomes: an envelope, the ports it fires, and the edges it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dipeo_server.domains.diagram.executable import EdgeKind, ExecutableNode
from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.envelope import Envelope, EnvelopeFactory
from dipeo_server.domains.execution.events import (
    Ending,
    Event,
    ExecutionStatusChanged,
    Failure,
    NodeCompleted,
    ObservedError,
    StateChanged,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.output import DEFAULT_PORT, NO_TOKENS, NodeOutput
from dipeo_server.domains.execution.routing import FALLBACK_PORT, chosen_edges, has_choice
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import NodeError


class MissingEdge(NodeError):
    """A node wants to go on where no edge leads."""

    code = "MISSING_EDGE"


class NoFallback(NodeError):
    """A node could only do less, and has no fallback edge."""

    code = "FALLBACK"


class NoEnd(NodeError):
    """A node that may not end the run wants to."""

    code = "MISSING_EDGE"
    default_hint = "Only endpoints end a run, and nodes that say `may_end: true`."


@dataclass(frozen=True, slots=True)
class Result:
    """What a handler gave, on its way to becoming events; `edges` where they are chosen already."""

    state: ExecutionState
    node: ExecutableNode
    run: NodeRun
    envelope: Envelope
    ports: tuple[str, ...]
    output: NodeOutput | None = None
    edges: tuple[str, ...] | None = None
    behind: tuple[Event, ...] = ()
    before: tuple[Event, ...] = ()

    def going_to(self, target: str) -> Result:
        """Along the first edge to that node. Raises MissingEdge."""
        leading = [self.state.diagram.edges[index] for index in self.node.outgoing]
        nodes = self.state.diagram.nodes
        for edge in leading:
            if nodes[edge.target].key == target:
                return replace(self, ports=(edge.source_handle,), edges=(edge.key,))
        known = ", ".join(sorted({nodes[edge.target].key for edge in leading})) or "nowhere"
        message = f"{self.node.key!r} wants to go to {target!r}, and no edge leads there."
        raise MissingEdge(message, hint=f"Its edges lead to: {known}.")

    def ending(self) -> Result:
        """The run completes with it. Raises NoEnd."""
        if not (self.node.is_endpoint or self.node.may_end):
            raise NoEnd(f"{self.node.key!r} wants to end the run, and may not.")
        status = self.state.status
        reason = f"ended by {self.node.key}"
        ending = ExecutionStatusChanged(status, status, reason=reason, ending=Ending("end"))
        return replace(self, ports=(), edges=(), behind=(ending,))

    def events(
        self, changed: Sequence[StateChanged], blob: BlobRef | None = None
    ) -> tuple[Event, ...]:
        """Its end, with its body in `blob` where that is large. Raises ExpressionError, Unrouted.

        `changed` are the variables that change with it: conditions on its edges see them.
        """
        edges = self.edges
        if edges is None:
            edges = taken_edges(self.state, self.node, self.envelope, self.ports, changed)
        envelope = self.envelope
        if blob is not None:
            envelope = replace(envelope, body=None, blob=blob)
        usage = (self.output and self.output.token_usage) or NO_TOKENS
        messages = self.output.messages if self.output else ()
        end = NodeCompleted(
            self.run, envelope, self.ports, edges, token_usage=usage, messages=messages
        )
        return (*self.before, end, *self.behind)


def result_of(
    state: ExecutionState, node: ExecutableNode, run: NodeRun, output: NodeOutput, now: datetime
) -> Result:
    """An output as it leaves its node."""
    envelope, ports = envelope_of(node, run, output, now)
    return Result(state, node, run, envelope, ports, output)


def fallback_of(
    state: ExecutionState,
    node: ExecutableNode,
    run: NodeRun,
    reason: str,
    output: NodeOutput | None,
    now: datetime,
) -> Result:
    """Less than was asked for, along the fallback edge. Raises NoFallback."""
    edges = [state.diagram.edges[index] for index in node.outgoing]
    behind = [edge for edge in edges if edge.kind is EdgeKind.FALLBACK]
    if not behind:
        message = f"{node.key!r} falls back ({reason}), and has no fallback edge."
        raise NoFallback(message, hint="Draw an edge of kind fallback.")
    given = output or NodeOutput({DEFAULT_PORT: {"reason": reason}})
    envelope, _ = envelope_of(node, run, given, now)
    to = state.diagram.nodes[behind[0].target].key
    degraded = Failure("DEGRADED", f"fallback to {to}: {reason}", node.key)
    return Result(
        state,
        node,
        run,
        envelope.with_meta(degraded=reason),
        (FALLBACK_PORT,),
        output,
        before=(ObservedError(degraded, run),),
    )


def completed(
    state: ExecutionState,
    node: ExecutableNode,
    run: NodeRun,
    envelope: Envelope,
    ports: tuple[str, ...],
    *,
    changed: Sequence[StateChanged] = (),
) -> NodeCompleted:
    """The end of a NodeRun that went well. Raises ExpressionError, Unrouted.

    `changed` are the variables that change with it: conditions on its edges see them.
    """
    return NodeCompleted(run, envelope, ports, taken_edges(state, node, envelope, ports, changed))


def taken_edges(
    state: ExecutionState,
    node: ExecutableNode,
    envelope: Envelope,
    ports: tuple[str, ...],
    changed: Sequence[StateChanged],
) -> tuple[str, ...] | None:
    """Which edges fire where that is not a matter of the ports alone; else None."""
    if not has_choice(state.diagram, node):
        return None
    return chosen_edges(state.diagram, node, ports, _names(state, envelope, changed))


def _names(
    state: ExecutionState, envelope: Envelope, changed: Sequence[StateChanged]
) -> dict[str, Any]:
    """What a condition on an edge may name: the output's keys, `output`, and the variables."""
    body = envelope.body
    spread = dict(body) if isinstance(body, Mapping) else {}
    puts = {change.key: change.value for change in changed if not change.is_deleted}
    return {**spread, "output": body, **state.variables, **puts}


def envelope_of(
    node: ExecutableNode, run: NodeRun, output: NodeOutput, now: datetime
) -> tuple[Envelope, tuple[str, ...]]:
    """The message of a result, and the ports it fires."""
    body, ports, is_by_port = body_of(node, output)
    meta = {**output.metadata, "by_port": True} if is_by_port else dict(output.metadata)
    envelope = EnvelopeFactory.create(
        run.node,
        body,
        occurrence=run.occurrence,
        content_type=output.content_type,
        meta=meta,
        timestamp=now,
    )
    return envelope, ports


def body_of(node: ExecutableNode, output: NodeOutput) -> tuple[Any, tuple[str, ...], bool]:
    """What a result carries, the ports it fires, and whether it maps ports to their values.

    A lone `default` is the body itself. Names that are ports fire those ports, a None among
    several does not. A map without any port name is the body of the default port.
    """
    value = dict(output.value)
    named = [name for name in value if name in (node.ports or (DEFAULT_PORT,))]
    if not named:
        return (value or None), (DEFAULT_PORT,), False
    if len(value) == 1:
        return value[named[0]], (named[0],), False
    return value, tuple(name for name in named if value[name] is not None), True
