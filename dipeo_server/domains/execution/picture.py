"""The picture of a run: its diagram, with how every node stands in signs, words and colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Final

from dipeo_server.domains.diagram.rendering.composing import Specs, compose_compiled
from dipeo_server.domains.diagram.rendering.picture import Box, Picture, Style
from dipeo_server.domains.execution.state import ExecutionView, NodeState
from dipeo_server.domains.execution.status import BarrierStatus, NodeExecutionStatus

_N = NodeExecutionStatus

# After the colours of Okabe and Ito, which people tell apart whatever colours they see; fills are
# light, so that black text stays readable on all of them.
STYLES: Final[Mapping[NodeExecutionStatus, Style]] = {
    _N.PENDING: Style("pending", "○", "#ffffff", "#6b6b6b"),
    _N.RUNNING: Style("running", "▶", "#b3dbf5", "#00578a", is_bold=True),
    _N.WAITING: Style("waiting", "‖", "#fbe98c", "#8a7500", is_bold=True, is_dashed=True),
    _N.COMPLETED: Style("completed", "✓", "#8fd3ba", "#00593f"),
    _N.FAILED: Style("failed", "✗", "#f2a480", "#8a3200", is_bold=True),
    _N.SKIPPED: Style("skipped", "»", "#e6e6e6", "#6b6b6b", is_dashed=True),
    _N.ABORTED: Style("aborted", "■", "#dca6c8", "#7d2f59"),
    _N.MAXITER_REACHED: Style("maxiter_reached", "↻", "#c3c9e8", "#4a5590"),
}


def compose_run(view: ExecutionView, specs: Specs) -> Picture:
    """The picture of a run as of this view; boxes in the order of the diagram's nodes."""
    picture = compose_compiled(view.diagram, specs)
    asked = {record.id.node for record in view.barriers if record.status is BarrierStatus.WAITING}
    boxes = tuple(
        _with_state(box, state, is_asked=node.key in asked)
        for box, state, node in zip(picture.boxes, view.nodes, view.diagram.nodes, strict=True)
    )
    return replace(picture, boxes=boxes, title=_title(view), legend=_legend(view))


def _title(view: ExecutionView) -> tuple[str, ...]:
    heading = f"{view.diagram.name or 'Run'}: {view.status}"
    return heading, f"{view.id}, up to event {view.last_seq}"


def _legend(view: ExecutionView) -> tuple[tuple[Style, str], ...]:
    """The statuses that occur, in their usual order, with how many nodes have each."""
    found = [node.status for node in view.nodes]
    return tuple(
        (style, f"{style.sign} {status}: {found.count(status)}")
        for status, style in STYLES.items()
        if status in found
    )


def _with_state(box: Box, state: NodeState, *, is_asked: bool) -> Box:
    style = STYLES[state.status]
    return replace(
        box,
        facts=(*box.facts, f"{style.sign} {state.status}{_remark(state, is_asked=is_asked)}"),
        details=(*box.details, *_details(state)),
        style=style,
    )


def _remark(state: NodeState, *, is_asked: bool) -> str:
    """What belongs to the status at first sight."""
    match state.status:
        case _N.SKIPPED if state.skip_reason:
            return f": {state.skip_reason}"
        case _N.FAILED if state.failure:
            return f": {state.failure.code}{_times(state)}"
        case _N.WAITING if is_asked:
            return f" for a person{_times(state)}"
        case _:
            return _times(state)


def _times(state: NodeState) -> str:
    return f" \N{MULTIPLICATION SIGN}{state.executed}" if state.executed > 1 else ""


def _details(state: NodeState) -> Iterator[str]:
    if state.occurrence:
        entered = f"{state.executed} run{'' if state.executed == 1 else 's'}"
        yield f"{state.status} at visit {state.occurrence}, attempt {state.attempt}; {entered}"
    if state.skip_reason:
        yield f"skipped: {state.skip_reason}"
    if state.started_at is not None:
        yield f"started {state.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if state.started_at is not None and state.ended_at is not None:
        yield f"took {(state.ended_at - state.started_at).total_seconds():.3f} s"
    if state.token_usage is not None and state.token_usage.total:
        yield f"{state.token_usage.total} tokens"
    if state.failure is not None:
        yield f"{state.failure.code}: {state.failure.message}"
