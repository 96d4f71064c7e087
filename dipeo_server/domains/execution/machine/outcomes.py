"""Rules: a handler returned, raised, reported or was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dipeo_server.domains.diagram.executable import EdgeKind, ExecutableNode
from dipeo_server.domains.execution.delta import ReducerRegistry
from dipeo_server.domains.execution.envelope import ContentType, Envelope, EnvelopeFactory
from dipeo_server.domains.execution.events import (
    BarrierWaiting,
    Event,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeInterrupted,
    NodeReported,
    NodeRetryScheduled,
    ObservedError,
    ResultDiscarded,
    StateChanged,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.variables import changes
from dipeo_server.domains.execution.output import (
    DEFAULT_PORT,
    NO_TOKENS,
    NodeOutput,
    Skip,
    TokenUsage,
    WaitForPerson,
    WaitUntil,
)
from dipeo_server.domains.execution.routing import FALLBACK_PORT, chosen_edges, has_choice
from dipeo_server.domains.execution.signals import NodeRaised, NodeReport, NodeReturned, NodeStopped
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.domains.execution.tokens import SkipReason
from dipeo_server.errors import DipeoError


def returned(
    state: ExecutionState, signal: NodeReturned, now: datetime, reducers: ReducerRegistry
) -> tuple[Event, ...]:
    """A result: recorded if this NodeRun is still wanted, discarded if the run is ending."""
    run = signal.node_run
    node = running_node(state, run)
    if node is None:
        return ()
    if state.ending is not None:
        return (ResultDiscarded(run, state.ending.cause), *_stopped(run, state.ending.cause))
    observed = tuple(ObservedError(failure, run) for failure in signal.observed)
    try:
        changed = changes(state, node, run, signal.deltas, reducers)
        ending = _ending_events(state, node, run, signal, changed, now)
    except DipeoError as error:
        failure = Failure(error.code, error.message, node.key, hint=error.hint)
        return (*observed, *failed(state, node, run, failure, now))
    return (*changed, *observed, *ending)


def raised(state: ExecutionState, signal: NodeRaised, now: datetime) -> tuple[Event, ...]:
    """A failure: a retry, a handled failure, or one that propagates."""
    run = signal.node_run
    node = running_node(state, run)
    if node is None:
        return ()
    if state.ending is not None:
        return (ResultDiscarded(run, state.ending.cause), *_stopped(run, state.ending.cause))
    observed = tuple(ObservedError(failure, run) for failure in signal.observed)
    usage = signal.token_usage or NO_TOKENS
    return (*observed, *failed(state, node, run, signal.failure, now, usage=usage))


def reported(state: ExecutionState, signal: NodeReport, now: datetime) -> tuple[Event, ...]:
    """An early result: kept, and used only if the process dies before the handler returns."""
    node = running_node(state, signal.node_run)
    if node is None or state.ending is not None or node.index in state.early:
        return ()
    envelope, ports = envelope_of(node, signal.node_run, signal.result, now)
    completed = NodeExecutionStatus.COMPLETED
    return (NodeReported(signal.node_run, completed, output=envelope, ports=ports),)


def stopped(state: ExecutionState, signal: NodeStopped) -> tuple[Event, ...]:
    """A handler that was no longer wanted has ended."""
    if running_node(state, signal.node_run) is None or state.ending is None:
        return ()
    return _stopped(signal.node_run, signal.reason)


def _stopped(run: NodeRun, reason: str) -> tuple[Event, ...]:
    return (NodeInterrupted(run, reason, will_rerun=False),)


def running_node(state: ExecutionState, run: NodeRun) -> ExecutableNode | None:
    """The node, if exactly this visit of it is running; anything else is stale."""
    index = state.diagram.index_of.get(run.node)
    if index is None or state.running.get(index) != run or state.status.is_terminal:
        return None
    return state.diagram.nodes[index]


# --- results ------------------------------------------------------------------------------------


def _ending_events(
    state: ExecutionState,
    node: ExecutableNode,
    run: NodeRun,
    signal: NodeReturned,
    changed: Sequence[StateChanged],
    now: datetime,
) -> tuple[Event, ...]:
    match signal.result:
        case NodeOutput() as result:
            envelope, ports = envelope_of(node, run, result, now)
            edges = _edges(state, node, envelope, ports, changed)
            usage = result.token_usage or NO_TOKENS
            if signal.blob is not None:
                envelope = replace(envelope, body=None, blob=signal.blob)
            end = NodeCompleted(
                run, envelope, ports, edges, token_usage=usage, messages=result.messages
            )
            return (end,)
        case Skip():
            return (_skipping(run, now),)
        case WaitForPerson() as wish:
            return (_asking(run, wish, now),)
        case WaitUntil(seconds=seconds, output=output):
            envelope, ports = envelope_of(node, run, output, now)
            due_at = now + timedelta(seconds=max(0.0, seconds))
            waiting = NodeExecutionStatus.WAITING
            return (NodeReported(run, waiting, output=envelope, ports=ports, due_at=due_at),)


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
    return NodeCompleted(run, envelope, ports, _edges(state, node, envelope, ports, changed))


def _edges(
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


def _skipping(run: NodeRun, now: datetime) -> NodeCompleted:
    envelope = EnvelopeFactory.create(
        run.node, None, occurrence=run.occurrence, meta={"skip_branch": True}, timestamp=now
    )
    return NodeCompleted(run, envelope, (), skip_reason=SkipReason.SKIP_BRANCH)


def _asking(run: NodeRun, wish: WaitForPerson, now: datetime) -> BarrierWaiting:
    due_at = None if wish.timeout is None else now + timedelta(seconds=wish.timeout)
    return BarrierWaiting(
        run,
        wish.kind,
        wish.prompt,
        answer_schema=wish.answer_schema,
        expires_at=due_at,
        default_action=wish.default_action,
        default_answer=wish.default_answer,
        variable=wish.variable,
        bypass_on_skip=wish.bypass_on_skip,
    )


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


# --- failures -----------------------------------------------------------------------------------


def failed(  # noqa: PLR0913 - the two options are keyword-only.
    state: ExecutionState,
    node: ExecutableNode,
    run: NodeRun,
    failure: Failure,
    now: datetime,
    *,
    usage: TokenUsage | None = None,
    may_retry: bool = True,
) -> tuple[Event, ...]:
    """What a failure becomes: a retry, whatever `on_error` or an edge makes of it, or itself."""
    spent = usage or NO_TOKENS
    if may_retry and _will_retry(state, node, failure):
        due_at = now + timedelta(seconds=_delay(state, node, run))
        return (
            NodeFailed(run, failure, will_retry=True, token_usage=spent),
            NodeRetryScheduled(run.next_attempt(), due_at, failure),
        )
    policy = _policy(state, node, failure)
    if policy is None:
        return (NodeFailed(run, failure, token_usage=spent),)
    envelope, ports = _handled(node, run, failure, policy, now)
    end = NodeFailed(run, failure, handled=policy, output=envelope, ports=ports, token_usage=spent)
    return (ObservedError(failure, run), end)


def _will_retry(state: ExecutionState, node: ExecutableNode, failure: Failure) -> bool:
    policy = node.retry
    if state.tries.get(node.index, 0) + 1 >= policy.attempts:
        return False
    return failure.is_one_of(policy.retry_on) if policy.retry_on else failure.retryable


def _delay(state: ExecutionState, node: ExecutableNode, run: NodeRun) -> float:
    policy = node.retry
    factor = 2.0 ** state.tries.get(node.index, 0) if policy.backoff == "exponential" else 1.0
    seconds = min(policy.max_seconds, policy.initial_seconds * factor)
    if not policy.jitter:
        return seconds
    # Chance that repeats: seeded by the visit, recorded as the event's due time.
    seed = f"{state.id}/{run.node}/{run.occurrence}/{run.attempt}".encode()
    share = int.from_bytes(hashlib.blake2b(seed, digest_size=4).digest()) / 2**32
    return seconds * (1.0 - policy.jitter * share)


def _policy(state: ExecutionState, node: ExecutableNode, failure: Failure) -> str | None:
    """Which policy takes the failure; an error port or a fallback edge is one by being there."""
    on_error = node.on_error
    if on_error.match and not failure.is_one_of(on_error.match):
        return None
    if on_error.policy != "fail":
        return on_error.policy
    edges = [state.diagram.edges[index] for index in node.outgoing]
    if any(edge.source_handle == "error" for edge in edges):
        return "error_port"
    return "fallback" if any(edge.kind is EdgeKind.FALLBACK for edge in edges) else None


def _handled(
    node: ExecutableNode, run: NodeRun, failure: Failure, policy: str, now: datetime
) -> tuple[Envelope, tuple[str, ...]]:
    body: Any = {"code": failure.code, "message": failure.message, "node": node.key}
    content_type: ContentType | None = ContentType.ERROR
    if policy == "default_output":
        body, content_type = node.on_error.output, None
    envelope = EnvelopeFactory.create(
        run.node,
        body,
        occurrence=run.occurrence,
        content_type=content_type,
        meta={"error": failure.code},
        timestamp=now,
    )
    port = {"error_port": "error", "fallback": FALLBACK_PORT}.get(policy, DEFAULT_PORT)
    return envelope, (port,)
