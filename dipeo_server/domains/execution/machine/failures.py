"""Rules: what a failure becomes: a retry, whatever a policy or an edge makes of it, or itself."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from dipeo_server.domains.diagram.executable import EdgeKind, ExecutableNode
from dipeo_server.domains.execution.envelope import ContentType, Envelope, EnvelopeFactory
from dipeo_server.domains.execution.events import (
    Event,
    Failure,
    NodeFailed,
    NodeRetryScheduled,
    ObservedError,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.results import taken_edges
from dipeo_server.domains.execution.output import DEFAULT_PORT, NO_TOKENS, TokenUsage
from dipeo_server.domains.execution.routing import FALLBACK_PORT
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import NodeError


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
    observed = ObservedError(failure, run)
    try:
        edges = taken_edges(state, node, envelope, ports, ())
    except NodeError as error:
        nowhere = Failure(
            error.code,
            error.message,
            node.key,
            hint=error.hint,
            error_type=type(error).__name__,
        )
        return (observed, NodeFailed(run, nowhere, token_usage=spent))
    return (
        observed,
        NodeFailed(
            run,
            failure,
            handled=policy,
            output=envelope,
            ports=ports,
            edges=edges,
            token_usage=spent,
        ),
    )


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
    """Which policy takes the failure; an error port or a fallback edge is one by being there.

    One that wants an edge which is not there takes nothing: a failure does not just vanish.
    """
    on_error = node.on_error
    if on_error.match and not failure.is_one_of(on_error.match):
        return None
    edges = [state.diagram.edges[index] for index in node.outgoing]
    there = {
        "error_port": any(edge.source_handle == "error" for edge in edges),
        "fallback": any(edge.kind is EdgeKind.FALLBACK for edge in edges),
    }
    if on_error.policy == "fail":
        return next((policy for policy, is_there in there.items() if is_there), None)
    return on_error.policy if there.get(on_error.policy, True) else None


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
