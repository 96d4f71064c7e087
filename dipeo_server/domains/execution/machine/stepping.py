"""Rules: single steps of a held run, and breakpoints that hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.execution.events import (
    Breakpoint,
    BreakpointHit,
    BreakpointsChanged,
    Event,
    ExecutionStatusChanged,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeOutputSet,
    NodeStarted,
    ObservedError,
    PauseCause,
    StateChanged,
)
from dipeo_server.domains.execution.expression import Expression, ExpressionError, evaluate
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.interventions import BreakpointWhen
from dipeo_server.domains.execution.machine.limits import exceeded
from dipeo_server.domains.execution.machine.visits import next_run
from dipeo_server.domains.execution.signals import BreakpointsSet, StepRequested
from dipeo_server.domains.execution.state import ExecutionState, WaitKind
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import ExecutionFinished, InvalidInput, InvalidState, NotFound

BREAKPOINTS_MAX = 1_000


def step(state: ExecutionState, signal: StepRequested) -> tuple[Event, ...]:
    """Let one visit run, and hold the run again behind it.

    Raises ExecutionFinished, InvalidState, NotFound, InvalidInput.
    """
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    if not state.is_paused or state.ending is not None:
        message = f"Only a paused execution can be stepped; this one is {state.status}."
        raise InvalidState(message, hint="Pause it first.")
    limit = exceeded(state)
    if limit is not None:
        message = f"The run has reached its limit: {limit}."
        raise InvalidState(message, hint="Resume it with a larger one.")
    run, is_retry = _stepped(state, signal.node)
    going = ExecutionStatusChanged(
        ExecutionStatus.PAUSED,
        ExecutionStatus.RUNNING,
        reason="step",
        actor=signal.actor,
        cause=PauseCause.STEP,
        step=run,
    )
    return (going, NodeStarted(run)) if is_retry else (going,)


def _stepped(state: ExecutionState, key: str | None) -> tuple[NodeRun, bool]:
    """The visit that a step lets run, and whether it is a retry that waits."""
    retries = {
        index: waiting.node_run
        for index, waiting in state.waiting.items()
        if waiting.kind is WaitKind.RETRY
    }
    if key is None:
        for index in state.ready:
            return next_run(state, index)[0], False
        for run in retries.values():
            return run, True
        message = "No node is ready to run."
        raise InvalidState(message, hint="Decide what it waits for, or resume it.")
    index = known_node(state.diagram, key)
    if index in state.ready:
        return next_run(state, index)[0], False
    if index in retries:
        return retries[index], True
    ready = [state.diagram.nodes[each].key for each in (*state.ready, *retries)]
    hint = f"Ready are: {', '.join(ready[:20])}." if ready else "No node is ready."
    raise InvalidInput(f"Node {key!r} is not ready to run.", field=("nodeKey",), hint=hint)


def known_node(diagram: ExecutableDiagram, key: str) -> int:
    """The index of the node with that key. Raises NotFound, naming the nearest."""
    index = diagram.index_of.get(key)
    if index is None:
        hint = did_you_mean(key, diagram.index_of)
        raise NotFound(f"The diagram has no node {key!r}.", hint=hint)
    return index


def step_over(state: ExecutionState) -> tuple[Event, ...]:
    """The visit that was let run has ended, or waits: the run is held again."""
    run = state.stepping
    if run is None or state.ending is not None:
        return ()
    index = state.diagram.index_of[run.node]
    is_due = index in state.ready and next_run(state, index)[0] == run
    if is_due or state.running.get(index) == run:
        return ()
    if state.is_settled and not state.failures:
        return ()  # That was the last one.
    cause = PauseCause.STEP
    paused = ExecutionStatus.PAUSED
    return (ExecutionStatusChanged(state.status, paused, reason=cause.value, cause=cause),)


# --- breakpoints --------------------------------------------------------------------------------


def breakpoints_set(state: ExecutionState, signal: BreakpointsSet) -> tuple[Event, ...]:
    """These breakpoints and no others. Raises ExecutionFinished, NotFound, InvalidInput."""
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    breakpoints = checked_breakpoints(state.diagram, signal.breakpoints)
    if breakpoints == state.breakpoints:
        return ()
    return (BreakpointsChanged(breakpoints, actor=signal.actor),)


def checked_breakpoints(
    diagram: ExecutableDiagram, breakpoints: Sequence[Breakpoint]
) -> tuple[Breakpoint, ...]:
    """The breakpoints, each once. Raises NotFound, InvalidInput."""
    if len(breakpoints) > BREAKPOINTS_MAX:
        message = f"A run has at most {BREAKPOINTS_MAX} breakpoints, not {len(breakpoints)}."
        raise InvalidInput(message, field=("breakpoints",))
    for number, each in enumerate(breakpoints):
        known_node(diagram, each.node)
        try:
            if each.condition is not None:
                Expression.parse(each.condition)
        except ExpressionError as error:
            field = ("breakpoints", str(number), "condition")
            raise InvalidInput(error.message, field=field, hint=error.hint) from error
    return tuple(dict.fromkeys(breakpoints))


def breaks_before(state: ExecutionState) -> tuple[Event, ...]:
    """Breakpoints at nodes that are about to start."""
    found: list[Event] = []
    for each in state.breakpoints:
        index = state.diagram.index_of.get(each.node)
        if each.when is not BreakpointWhen.BEFORE or index is None or index not in state.ready:
            continue
        run, limit = next_run(state, index)
        if limit is None:
            found.extend(_hit(state, each, run, {**state.variables}))
    return _held(state, found)


def breaks_after(state: ExecutionState, events: Sequence[Event]) -> tuple[Event, ...]:
    """Breakpoints behind the nodes that end with these events."""
    if not state.breakpoints or state.ending is not None:
        return ()
    variables = dict(state.variables)
    found: list[Event] = []
    for event in events:
        match event:
            case StateChanged(key=key, value=value, is_deleted=is_deleted):
                variables[key] = None if is_deleted else value
            case NodeFailed(will_retry=True):
                pass
            case (
                NodeCompleted(node_run=run, output=output)
                | NodeOutputSet(node_run=run, output=output)
            ):
                found.extend(_hits_after(state, run, {**variables, "output": output.body}))
            case NodeFailed(node_run=run):
                found.extend(_hits_after(state, run, {**variables, "output": None}))
            case _:
                pass
    # Pausing NOW may end a node: the run is held by then.
    paused = ExecutionStatus.PAUSED
    is_held = any(isinstance(e, ExecutionStatusChanged) and e.after is paused for e in events)
    return tuple(found) if is_held else _held(state, found)


def _hits_after(state: ExecutionState, run: NodeRun, names: Mapping[str, Any]) -> list[Event]:
    found: list[Event] = []
    for each in state.breakpoints:
        if each.node == run.node and each.when is BreakpointWhen.AFTER:
            found.extend(_hit(state, each, run, names))
    return found


def _hit(
    state: ExecutionState, each: Breakpoint, run: NodeRun, names: Mapping[str, Any]
) -> list[Event]:
    if (state.diagram.index_of[run.node], run.occurrence, each.when) in state.hits:
        return []
    hit = BreakpointHit(run, each.when)
    if each.condition is None:
        return [hit]
    try:
        return [hit] if evaluate(each.condition, names) else []
    except ExpressionError as error:
        # Better to hold once too often than to run past what somebody wanted to see.
        failure = Failure(error.code, f"Breakpoint at {run.node!r}: {error.message}", run.node)
        return [ObservedError(failure, run), hit]


def _held(state: ExecutionState, hits: list[Event]) -> tuple[Event, ...]:
    named = [hit for hit in hits if isinstance(hit, BreakpointHit)]
    if not named or state.is_paused:
        return tuple(hits)
    where = ", ".join(dict.fromkeys(f"{hit.when.lower()} {hit.node_run.node}" for hit in named))
    paused = ExecutionStatusChanged(
        state.status,
        ExecutionStatus.PAUSED,
        reason=f"breakpoint {where}",
        cause=PauseCause.BREAKPOINT,
    )
    return (*hits, paused)
