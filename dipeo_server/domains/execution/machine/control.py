"""Rules: somebody starts, resumes or aborts the run, or a new runner takes it over."""

from __future__ import annotations

from datetime import datetime

from dipeo_server.domains.diagram.executable import AfterCrash, ExecutableNode
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    BarrierWaiting,
    Ending,
    Event,
    ExecutionAborted,
    ExecutionStarted,
    ExecutionStatusChanged,
    Failure,
    NodeInterrupted,
    PauseCause,
    RunnerRestarted,
    StateChanged,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.machine import limits
from dipeo_server.domains.execution.machine.early import closing
from dipeo_server.domains.execution.machine.failures import failed
from dipeo_server.domains.execution.machine.initial import checked_initial
from dipeo_server.domains.execution.machine.mutating import mutate
from dipeo_server.domains.execution.machine.results import completed
from dipeo_server.domains.execution.machine.stepping import checked_breakpoints
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    PauseRequested,
    ResumeRequested,
    StartRequested,
)
from dipeo_server.domains.execution.state import ExecutionState, WaitKind
from dipeo_server.domains.execution.status import BarrierStatus, ExecutionStatus
from dipeo_server.errors import ExecutionFinished, InvalidInput, InvalidState

STEPS_MIN = 10_000
STEPS_PER_NODE = 10


def started(signal: StartRequested) -> tuple[Event, ...]:
    """The first event. Raises InvalidInput for a limit below 1."""
    limit = signal.max_steps
    if limit is not None and limit < 1:
        raise InvalidInput("maxSteps must be at least 1.", field=("input", "maxSteps"))
    default = max(STEPS_MIN, STEPS_PER_NODE * len(signal.diagram.nodes))
    held = ExecutionStatusChanged(
        ExecutionStatus.STARTED,
        ExecutionStatus.PAUSED,
        reason="start_paused",
        actor=signal.actor,
        cause=PauseCause.START if signal.parent is None else PauseCause.PARENT,
    )
    return (
        ExecutionStarted(
            signal.execution_id,
            signal.diagram,
            dict(signal.variables),
            default if limit is None else limit,
            error_strategy=signal.error_strategy,
            durability=signal.durability,
            actor=signal.actor,
            parent_id=signal.parent_id,
            parent=signal.parent,
            key=signal.key,
            checkpoints=signal.checkpoints,
            checkpointing=signal.checkpointing,
            diagram_id=signal.diagram_id,
            revision=signal.revision,
            breakpoints=checked_breakpoints(signal.diagram, signal.breakpoints),
            budget=limits.checked(signal.budget),
            initial=checked_initial(signal.diagram, signal.initial),
        ),
        *((held,) if signal.is_paused else ()),
    )


def paused(state: ExecutionState, signal: PauseRequested, now: datetime) -> tuple[Event, ...]:
    """Hold the run; with NOW, what runs is stopped as a crash would stop it.

    Pausing a paused run changes nothing but that. Raises ExecutionFinished, InvalidState.
    """
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    if state.ending is not None:
        raise InvalidState("The execution is being ended, so it cannot be paused.")
    found: list[Event] = []
    if not state.is_paused:
        cause = PauseCause.PARENT if signal.is_by_parent else PauseCause.USER
        found.append(
            ExecutionStatusChanged(
                state.status,
                ExecutionStatus.PAUSED,
                reason=signal.reason,
                actor=signal.actor,
                cause=cause,
            )
        )
    if signal.mode is PauseMode.NOW:
        for index, run in state.running.items():
            found.extend(interrupted(state, state.diagram.nodes[index], run, now, "paused"))
    return tuple(found)


def resumed(state: ExecutionState, signal: ResumeRequested) -> tuple[Event, ...]:
    """Go on after a pause. Raises InvalidState, ExecutionFinished, InvalidInput."""
    if signal.is_by_parent and state.pause_cause is not PauseCause.PARENT:
        return ()
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    if not state.is_paused:
        raise InvalidState(f"Only a paused execution can be resumed; this one is {state.status}.")
    if state.ending is not None:
        raise InvalidState("The execution is being ended, so it cannot be resumed.")
    changed = () if signal.change is None else mutate(state, signal.change)
    limits_raised = limits.raised(state, signal)
    puts = tuple(StateChanged(key, value) for key, value in signal.variables.items())
    going = ExecutionStatusChanged(
        ExecutionStatus.PAUSED, ExecutionStatus.RUNNING, reason="resumed", actor=signal.actor
    )
    return (*changed, *limits_raised, *puts, going)


def aborted(state: ExecutionState, signal: AbortRequested) -> tuple[Event, ...]:
    """End the run; aborting an ABORTED one changes nothing. Raises ExecutionFinished."""
    if state.status is ExecutionStatus.ABORTED:
        return ()
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    if state.ending is not None and state.ending.cause == "abort":
        return ()
    if state.running:
        return (
            ExecutionStatusChanged(
                state.status,
                state.status,
                reason=signal.reason,
                actor=signal.actor,
                ending=Ending("abort", signal.grace_seconds),
            ),
        )
    ended = ExecutionAborted(signal.reason, signal.actor, state.token_usage)
    return (*cancelled_waits(state, "abort"), *closing(state, ended))


def cancelled_waits(state: ExecutionState, reason: str) -> tuple[Event, ...]:
    """Nobody is asked any more, and no timer runs."""
    found: list[Event] = []
    for waiting in state.waiting.values():
        if waiting.kind is WaitKind.PERSON:
            found.append(BarrierResolved(waiting.node_run, BarrierStatus.CANCELLED, reason=reason))
        found.append(NodeInterrupted(waiting.node_run, reason, will_rerun=False))
    return tuple(found)


def restarted(state: ExecutionState, now: datetime) -> tuple[Event, ...]:
    """A new runner took over: each NodeRun that was running follows its node's `after_crash`."""
    if state.status.is_terminal or not state.running:
        return ()
    found: list[Event] = [RunnerRestarted(len(state.running))]
    for index, run in state.running.items():
        node = state.diagram.nodes[index]
        found.extend(interrupted(state, node, run, now, "runner restarted"))
    return tuple(found)


def interrupted(
    state: ExecutionState, node: ExecutableNode, run: NodeRun, now: datetime, why: str
) -> tuple[Event, ...]:
    """What becomes of a visit that stops running in the middle: its node's `after_crash` says."""
    if state.ending is not None:
        return (NodeInterrupted(run, state.ending.cause, will_rerun=False),)
    early = state.early.get(node.index)
    if early is not None:
        return (completed(state, node, run, *early),)
    if node.after_crash is AfterCrash.RERUN:
        return (NodeInterrupted(run, why, will_rerun=True),)
    if node.after_crash is AfterCrash.FAIL:
        message = f"{node.key!r} was running when it was stopped ({why})."
        failure = Failure("CANCELLED", message, node.key, hint="Its node says after_crash: fail.")
        return failed(state, node, run, failure, now, may_retry=False)
    prompt = (
        f"{node.key!r} was running when it was stopped ({why}), and may have had effects. "
        "Approve to run it again, reject to fail it."
    )
    return (BarrierWaiting(run, "rerun", prompt),)
