"""Rules: a person runs a failed node again, skips a node, or gives its result."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableNode
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.execution.events import (
    Event,
    Failure,
    NodeOutputSet,
    NodeRetryScheduled,
    NodeSkipped,
)
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.machine import reopening
from dipeo_server.domains.execution.machine.results import envelope_of, taken_edges
from dipeo_server.domains.execution.machine.stepping import known_node
from dipeo_server.domains.execution.machine.visits import next_run
from dipeo_server.domains.execution.output import DEFAULT_PORT, NodeOutput
from dipeo_server.domains.execution.signals import OutputGiven, RetryRequested, SkipRequested
from dipeo_server.domains.execution.state import (
    ExecutionState,
    NodeState,
    Turn,
    TurnEnd,
    Waiting,
    WaitKind,
)
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.domains.execution.tokens import SkipReason
from dipeo_server.errors import DipeoError, ExecutionFinished, InvalidInput, InvalidState

_N = NodeExecutionStatus


def retry(state: ExecutionState, signal: RetryRequested, now: datetime) -> tuple[Event, ...]:
    """Run a failed node again, at once if it waits for that already.

    An unhandled failure is taken back, and with it what was skipped for it; further attempts than
    the node's policy has are granted. Raises ExecutionFinished, NotFound, InvalidState.
    """
    node = _steerable(state, signal.node)
    waiting = state.waiting.get(node.index)
    if waiting is not None and waiting.kind is WaitKind.RETRY:
        failure = state.nodes[node.index].failure or _unknown(node)
        return (NodeRetryScheduled(waiting.node_run, now, failure, signal.actor),)
    current = state.nodes[node.index]
    if current.status is not _N.FAILED:
        raise InvalidState(
            f"{node.key!r} has not failed: it is {_standing(state, node)}.",
            hint="Only a failed node, or one that waits for its retry, can be run again.",
        )
    _check_failure(state, node)
    run = NodeRun(node.key, current.occurrence, current.attempt).next_attempt()
    return (NodeRetryScheduled(run, now, current.failure or _unknown(node), signal.actor),)


def skip(state: ExecutionState, signal: SkipRequested) -> tuple[Event, ...]:
    """Do not run a node in this turn, or give its visit up; its edges get dead tokens.

    Raises ExecutionFinished, NotFound, InvalidState.
    """
    node = _steerable(state, signal.node)
    visit_of(state, node, "skipped")
    return (NodeSkipped(node.key, SkipReason.BY_USER, signal.actor, signal.reason),)


def give_output(state: ExecutionState, signal: OutputGiven, now: datetime) -> tuple[Event, ...]:
    """Take this as a node's result instead of running it.

    Raises ExecutionFinished, NotFound, InvalidState; InvalidInput for a result that names no
    port, or with which no edge of the node can be chosen.
    """
    node = _steerable(state, signal.node)
    run = visit_of(state, node, "given a result")
    output = output_for(node, signal.output)
    envelope, ports = envelope_of(node, run, output, now)
    try:
        edges = taken_edges(state, node, envelope, ports, ())
    except DipeoError as error:
        raise InvalidInput(error.message, field=("output",), hint=error.hint) from error
    return (NodeOutputSet(run, envelope, ports, edges, actor=signal.actor),)


def output_for(node: ExecutableNode, value: Any) -> NodeOutput:
    """A given value as a node's output, at the port that it is for.

    Where a node has several ports an object of ports chooses them, true and false choose those
    of a condition, and everything else is for `default`. Raises InvalidInput.
    """
    ports = node.ports or (DEFAULT_PORT,)
    if len(ports) == 1:
        return NodeOutput({ports[0]: value})
    if names_ports(node, value):
        is_truth = isinstance(value, bool)
        return NodeOutput({"condtrue" if value else "condfalse": value} if is_truth else value)
    if DEFAULT_PORT in ports:
        return NodeOutput({DEFAULT_PORT: value})
    message = f"{node.key!r} has several ports ({listed(ports)}), and the output names none."
    hint = f'Pass an object with the port that fires, such as {{"{ports[0]}": …}}.'
    raise InvalidInput(message, field=("output",), hint=hint)


def names_ports(node: ExecutableNode, value: Any) -> bool:
    """Does a given value say which of the node's ports fire?"""
    if isinstance(value, bool):
        return "condtrue" in node.ports and "condfalse" in node.ports
    return isinstance(value, dict) and bool(value) and all(name in node.ports for name in value)


# --- what may be done where ---------------------------------------------------------------------


def _steerable(state: ExecutionState, key: str) -> ExecutableNode:
    if state.status.is_terminal:
        raise ExecutionFinished(f"The execution has ended: {state.status}.")
    node = state.diagram.nodes[known_node(state.diagram, key)]
    if state.ending is not None:
        why = {"abort": "aborted", "fail_fast": "stopped after a failure"}
        message = f"The execution is being {why.get(state.ending.cause, 'ended')}."
        raise InvalidState(message)
    return node


def visit_of(state: ExecutionState, node: ExecutableNode, verb: str) -> NodeRun:
    """The visit that a skip or a result would end. Raises InvalidState."""
    index, current = node.index, state.nodes[node.index]
    if index in state.ready:
        return next_run(state, index)[0]
    if index in state.running:
        return state.running[index]
    waiting = state.waiting.get(index)
    if waiting is not None:
        _check_is_no_barrier(state, waiting, verb)
        return waiting.node_run
    if current.status is _N.FAILED:
        _check_failure(state, node)
        return NodeRun(node.key, current.occurrence, current.attempt)
    hint = None
    if state.turns[index].phase is Turn.OPEN and node.block is not None:
        hint = f"It has not been reached: set a breakpoint before {node.key!r}, and wait for it."
    message = f"{node.key!r} cannot be {verb} now: it is {_standing(state, node)}."
    raise InvalidState(message, hint=hint)


def _check_is_no_barrier(state: ExecutionState, waiting: Waiting, verb: str) -> None:
    if waiting.kind is not WaitKind.PERSON:
        return
    purpose = state.barriers[waiting.node_run.barrier].purpose
    hint = {
        "approval": "Decide its barrier, with SKIP, MODIFY or another action.",
        "answer": "Answer its barrier, or reject it.",
        "rerun": "Decide its barrier: approve to run it again, modify to give its result.",
    }.get(purpose, "Decide its barrier.")
    key = waiting.node_run.node
    raise InvalidState(f"{key!r} waits for a person, so it cannot be {verb}.", hint=hint)


def _check_failure(state: ExecutionState, node: ExecutableNode) -> None:
    """Can the failure be taken back? Raises InvalidState."""
    if state.turns[node.index].end is TurnEnd.FAILED:
        reopening.check(state, node)
        return
    last = state.emissions.get(node.index)
    if last is not None and last.envelope is not None:
        message = f"The failure of {node.key!r} was handled, and the run has gone on with that."
        raise InvalidState(message, hint="Fork the run from a sequence before the failure instead.")
    message = f"The turn of its loop in which {node.key!r} failed is over."
    raise InvalidState(message, hint="Fork the run from a sequence before the failure instead.")


def _standing(state: ExecutionState, node: ExecutableNode) -> str:
    current: NodeState = state.nodes[node.index]
    return "ready" if node.index in state.ready else current.status.value


def _unknown(node: ExecutableNode) -> Failure:
    return Failure("INTERNAL", f"{node.key!r} failed.", node.key)
