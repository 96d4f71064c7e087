"""Why a node has not run: what it waits for, what holds it, or which dead paths skipped it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dipeo_server.domains.diagram.executable import ExecutableEdge, ExecutableNode
from dipeo_server.domains.execution.events import PauseCause
from dipeo_server.domains.execution.machine.starting import RUNNING_MAX
from dipeo_server.domains.execution.state import ExecutionView, Waiting, WaitKind
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.domains.execution.tokens import SkipReason

_N = NodeExecutionStatus
_LIMITS = frozenset({PauseCause.MAX_STEPS, PauseCause.MAX_TOKENS, PauseCause.MAX_SECONDS})


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing that keeps a node from running.

    `reason` is `upstream` (a node that has to end first), `person`, `delay` or `retry`; `paused`,
    `breakpoint`, `limit`, `step`, `places` or `ending` where the run holds a ready node; `ended`
    where the run was over before; or the reason of a skip: `unreachable`, `branch_not_taken`,
    `join_not_met`, `upstream_failed`, `skip_branch`, `barrier_skipped`, `by_user`. `node` and
    `edge` are the keys of what blocks, if that is a node or comes along an edge.
    """

    reason: str
    node: str | None
    edge: str | None
    detail: str


def blockers(view: ExecutionView, key: str) -> tuple[Blocker, ...]:
    """What keeps a node from running; empty if it runs or has run. Raises KeyError."""
    node = view.diagram.get_node(key)
    if node.block is None:
        reason = SkipReason.UNREACHABLE
        return (Blocker(reason, None, None, f"No start leads to {key!r}."),)
    current = view.nodes[node.index]
    if view.status.is_terminal and current.status in (_N.PENDING, _N.WAITING):
        detail = f"The run ended ({view.status}) before {key!r} ran."
        return (Blocker("ended", None, None, detail),)
    if node.index in view.ready:
        return _held(view, node)
    waiting = view.waiting.get(node.index)
    if waiting is not None:
        return _waits(view, node, waiting)
    if current.status is _N.SKIPPED:
        return _skipped(view, node)
    return _awaited(view, node) if current.status is _N.PENDING else ()


# --- waiting ------------------------------------------------------------------------------------


def _awaited(view: ExecutionView, node: ExecutableNode) -> tuple[Blocker, ...]:
    edges = (view.diagram.edges[index] for index in node.incoming)
    return tuple(
        Blocker("upstream", _source(view, edge), edge.key, _still(view, edge))
        for edge in edges
        if view.tokens[edge.index] is None and _is_awaited(view, node, edge)
    )


def _is_awaited(view: ExecutionView, node: ExecutableNode, edge: ExecutableEdge) -> bool:
    """Does the edge bring a token in this turn?"""
    is_header = node.block is not None and view.diagram.blocks[node.block].header == node.index
    if is_header and node.block is not None and view.loop_turns[node.block] > 1:
        return edge.back_of is not None
    is_first = all(view.loop_turns[loop] == 1 for loop in edge.entering)
    return edge.back_of is None and is_first


def _still(view: ExecutionView, edge: ExecutableEdge) -> str:
    source = view.diagram.nodes[edge.source]
    status = view.nodes[edge.source].status
    if edge.exit_of is not None:
        header = view.diagram.blocks[edge.exit_of].header
        name = "" if header is None else f" at {view.diagram.nodes[header].key!r}"
        return f"{source.key!r} is in the loop{name}, which has not ended."
    state = "ready" if edge.source in view.ready else status.value
    return f"{source.key!r} has not ended: it is {state}."


def _waits(view: ExecutionView, node: ExecutableNode, waiting: Waiting) -> tuple[Blocker, ...]:
    due = "" if waiting.due_at is None else f" until {waiting.due_at.isoformat()}"
    match waiting.kind:
        case WaitKind.PERSON:
            detail = f"{node.key!r} waits for a person{due}."
            return (Blocker("person", node.key, None, detail),)
        case WaitKind.DELAY:
            return (Blocker("delay", node.key, None, f"{node.key!r} waits{due}."),)
        case WaitKind.RETRY:
            failure = view.nodes[node.index].failure
            why = "" if failure is None else f" It failed: {failure.message}"
            detail = f"{node.key!r} waits{due} for its next attempt.{why}"
            return (Blocker("retry", node.key, None, detail), *_pause(view))


# --- held ---------------------------------------------------------------------------------------


def _held(view: ExecutionView, node: ExecutableNode) -> tuple[Blocker, ...]:
    """It is ready, and the run does not let it start."""
    if view.is_ending:
        return (Blocker("ending", None, None, "The run is being stopped: nothing starts."),)
    found = _pause(view)
    if found:
        return found
    if view.stepping is not None and view.stepping.node != node.key:
        key = view.stepping.node
        return (Blocker("step", key, None, f"The run takes one step only, which is {key!r}."),)
    detail = f"{node.key!r} waits for a place: {RUNNING_MAX} nodes of the run are running."
    return (Blocker("places", None, None, detail),)


def _pause(view: ExecutionView) -> tuple[Blocker, ...]:
    if view.status is not ExecutionStatus.PAUSED:
        return ()
    cause = view.pause_cause
    reason = "limit" if cause in _LIMITS else "paused"
    if cause is PauseCause.BREAKPOINT:
        reason = "breakpoint"
    why = "" if view.pause_reason is None else f": {view.pause_reason}"
    detail = f"The run is paused ({cause.value if cause else 'user'}){why}."
    return (Blocker(reason, None, None, detail),)


# --- skipped ------------------------------------------------------------------------------------


def _skipped(view: ExecutionView, node: ExecutableNode) -> tuple[Blocker, ...]:
    """Which edges were dead, and why; or that somebody skipped the node itself."""
    found = tuple(_dead_edges(view, node))
    reason = view.nodes[node.index].skip_reason or SkipReason.BRANCH_NOT_TAKEN
    if found and reason != SkipReason.BY_USER:
        return found
    by_others = tuple(each for each in found if each.reason == SkipReason.BY_USER)
    if by_others:
        return by_others
    detail = f"{node.key!r} was skipped: {reason}."
    if reason == SkipReason.BY_USER:
        detail = f"Somebody skipped {node.key!r}."
    return (Blocker(reason, None, None, detail),)


def _dead_edges(view: ExecutionView, node: ExecutableNode) -> Iterator[Blocker]:
    for index in node.incoming:
        token, edge = view.tokens[index], view.diagram.edges[index]
        if token is not None and not token.is_live:
            detail = _why_dead(view, edge, token.reason)
            yield Blocker(token.reason, _source(view, edge), edge.key, detail)


def _why_dead(view: ExecutionView, edge: ExecutableEdge, reason: str) -> str:
    source = view.nodes[edge.source]
    key = view.diagram.nodes[edge.source].key
    if source.status is _N.SKIPPED:
        return f"{key!r} was skipped: {source.skip_reason}."
    if source.failure is not None and reason == SkipReason.UPSTREAM_FAILED:
        return f"{key!r} failed: {source.failure.message}"
    if reason == SkipReason.BRANCH_NOT_TAKEN:
        return f"{key!r} did not go on at {edge.source_handle!r}{_unmet(edge)}."
    return f"{key!r} put nothing on the edge: {reason}."


def _unmet(edge: ExecutableEdge) -> str:
    return "" if edge.condition is None else f" where {edge.condition}"


def _source(view: ExecutionView, edge: ExecutableEdge) -> str:
    return view.diagram.nodes[edge.source].key
