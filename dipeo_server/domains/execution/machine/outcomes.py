"""Rules: a handler returned, raised, reported or was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.execution.delta import ReducerRegistry
from dipeo_server.domains.execution.envelope import EnvelopeFactory
from dipeo_server.domains.execution.events import (
    BarrierWaiting,
    Event,
    Failure,
    NodeCompleted,
    NodeInterrupted,
    NodeReported,
    ObservedError,
    ResultDiscarded,
    StateChanged,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine.failures import failed
from dipeo_server.domains.execution.machine.results import envelope_of, fallback_of, result_of
from dipeo_server.domains.execution.machine.variables import changes
from dipeo_server.domains.execution.output import (
    NO_TOKENS,
    End,
    Fallback,
    Goto,
    NodeOutput,
    Skip,
    WaitForPerson,
    WaitUntil,
    leaving,
)
from dipeo_server.domains.execution.signals import (
    BranchTold,
    NodePutOff,
    NodeRaised,
    NodeReport,
    NodeReturned,
    NodeStopped,
)
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
        kind = type(error).__name__
        failure = Failure(error.code, error.message, node.key, hint=error.hint, error_type=kind)
        output = leaving(signal.result)
        usage = None if output is None else output.token_usage
        return (*observed, *failed(state, node, run, failure, now, usage=usage))
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


def put_off(state: ExecutionState, signal: NodePutOff) -> tuple[Event, ...]:
    """A handler was not entered: it runs when the run goes on, or is given up with it."""
    if running_node(state, signal.node_run) is None:
        return ()
    if state.ending is not None:
        return _stopped(signal.node_run, state.ending.cause)
    return (NodeInterrupted(signal.node_run, "paused before it began", will_rerun=True),)


def _stopped(run: NodeRun, reason: str) -> tuple[Event, ...]:
    return (NodeInterrupted(run, reason, will_rerun=False),)


def running_node(state: ExecutionState, run: NodeRun) -> ExecutableNode | None:
    """The node, if exactly this visit of it is running; anything else is stale."""
    index = state.diagram.index_of.get(run.node)
    if index is None or state.running.get(index) != run or state.status.is_terminal:
        return None
    return state.diagram.nodes[index]


def branch_told(state: ExecutionState, signal: BranchTold) -> tuple[Event, ...]:
    """A parallel group tells of its branches."""
    is_stale = running_node(state, signal.node_run) is None or state.ending is not None
    return () if is_stale else (signal.event,)


def _ending_events(
    state: ExecutionState,
    node: ExecutableNode,
    run: NodeRun,
    signal: NodeReturned,
    changed: Sequence[StateChanged],
    now: datetime,
) -> tuple[Event, ...]:
    match signal.result:
        case NodeOutput() as output:
            made = result_of(state, node, run, output, now)
        case Goto(target=target, output=output):
            made = result_of(state, node, run, output, now).going_to(target)
        case End(output=output):
            made = result_of(state, node, run, output, now).ending()
        case Fallback(reason=reason, output=output):
            made = fallback_of(state, node, run, reason, output, now)
        case Skip():
            return (_skipping(run, now),)
        case WaitForPerson() as wish:
            return (_asking(run, wish, now),)
        case WaitUntil(seconds=seconds, output=output):
            envelope, ports = envelope_of(node, run, output, now)
            due_at = now + timedelta(seconds=max(0.0, seconds))
            waiting = NodeExecutionStatus.WAITING
            return (NodeReported(run, waiting, output=envelope, ports=ports, due_at=due_at),)
    return made.events(changed, signal.blob)


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
