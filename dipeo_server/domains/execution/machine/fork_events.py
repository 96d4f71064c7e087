"""What a fork changes in the state that it goes on from: the forking half of `evolve`."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from datetime import datetime

from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import ExecutionForked, NodeOutputSet
from dipeo_server.domains.execution.machine.checkpoints import is_of_checkpoint
from dipeo_server.domains.execution.machine.steering_events import RUN_INDEX
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.domains.execution.tokens import Token


def forked(state: ExecutionState, event: ExecutionForked, at: datetime) -> None:
    """The run is another one from now on: nobody has paused it, or decided ahead of time."""
    state.id = event.execution_id
    state.fork_of, state.forked_at = event.origin, event.forked_at
    state.parent_id, state.parent = event.parent_id or event.origin, event.parent
    state.created_at, state.actor = at, event.actor
    state.early_decisions.clear()
    _forget_unkept(state)
    _go_on(state, event.left_at, at)
    for index, waiting in state.waiting.items():
        if waiting.due_at is not None:
            state.waiting[index] = replace(waiting, due_at=at + (waiting.due_at - event.left_at))
    for key, given in event.initial.items():
        state.initial[state.diagram.index_of[key]] = given
    state.touched.update(state.running, state.waiting)
    state.touched.add(RUN_INDEX)


def _go_on(state: ExecutionState, left_at: datetime, at: datetime) -> None:
    if state.busy_since is not None:
        state.busy_seconds += (left_at - state.busy_since).total_seconds()
    if state.status is ExecutionStatus.PAUSED:
        state.status = ExecutionStatus.RUNNING
    state.busy_since = at if state.status is ExecutionStatus.RUNNING else None
    state.pause_reason = state.pause_cause = state.stepping = None


def _forget_unkept(state: ExecutionState) -> None:
    """Which states of its origin could not be kept is not the fork's matter: it keeps its own."""
    state.unkept = None
    state.failures = [each for each in state.failures if not is_of_checkpoint(each)]


def output_replaced(state: ExecutionState, event: NodeOutputSet) -> None:
    """A node's last result is another one, wherever it has not been used yet."""
    node = state.diagram.get_node(event.node_run.node)
    last, new = state.emissions[node.index], event.output
    old = last.envelope
    state.emissions[node.index] = replace(last, envelope=new)
    state.nodes[node.index] = replace(state.nodes[node.index], output=new)
    state.outputs[node.key] = new
    if old is None:
        return
    for index in node.outgoing:
        token = state.tokens[index]
        if token is not None:
            state.tokens[index] = _swapped(token, old, new)
        for kept in (state.back_tokens, state.held, state.displaced):
            _swap_in(kept, index, old, new)
    _swap_in_closed(state, old, new)
    _swap_in_inputs(state, {state.diagram.edges[index].target for index in node.outgoing}, old, new)


def _swap_in_closed(state: ExecutionState, old: Envelope, new: Envelope) -> None:
    for block, closed in state.closed.items():
        state.closed[block] = replace(
            closed,
            back_tokens={i: _swapped(token, old, new) for i, token in closed.back_tokens.items()},
            held={i: _swapped(token, old, new) for i, token in closed.held.items()},
        )


def _swap_in_inputs(state: ExecutionState, targets: set[int], old: Envelope, new: Envelope) -> None:
    """What has its inputs, and has not begun or is to run again, gets the new one."""
    for target in targets:
        if target in state.ready or target in state.waiting:
            state.inputs[target] = tuple(
                replace(ref, envelope=new) if ref.envelope.id == old.id else ref
                for ref in state.inputs.get(target, ())
            )


def _swap_in(
    kept: MutableMapping[int, Token] | MutableMapping[int, Token | None],
    index: int,
    old: Envelope,
    new: Envelope,
) -> None:
    token = kept.get(index)
    if token is not None:
        kept[index] = _swapped(token, old, new)


def _swapped(token: Token, old: Envelope, new: Envelope) -> Token:
    """The token with the new envelope, if it carries the old one; a visit has one envelope."""
    is_old = token.envelope is not None and token.envelope.id == old.id
    return replace(token, envelope=new) if is_old else token
