"""What holds for runs that are forked, whose graphs change, and that are kept at checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import takewhile
from typing import Any

from dipeo_server.api.history import fold
from dipeo_server.domains.execution.events import (
    DiagramMutated,
    ExecutionForked,
    ExecutionStarted,
    NodeOutputSet,
    NodeStarted,
    Recorded,
    StateChanged,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import ForkExecution
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.runtime.loading import load

Log = Sequence[Recorded]

_OF_THE_FORK = frozenset(
    {
        *("id", "fork_of", "forked_at", "parent_id", "parent", "created_at", "actor"),
        *("last_seq", "last_at", "touched", "early_decisions", "initial"),
        *("busy_seconds", "busy_since", "status", "pause_reason", "pause_cause", "stepping"),
        "waiting",
    }
)
"""What a fork does not have as its origin had it: who it is, since when, and what held it."""


# --- graphs -------------------------------------------------------------------------------------


def graphs(log: Log) -> Iterable[str]:
    """Revisions are numbered without a gap, and what runs is in the one that is in force."""
    number, keys = 0, frozenset[str]()
    for recorded in log:
        match recorded.event:
            case ExecutionStarted(diagram=diagram, revision=number):
                keys = frozenset(diagram.index_of)
            case DiagramMutated(revision_number=next_number, diagram=diagram):
                if next_number != number + 1:
                    yield f"revision {next_number} follows {number}, at {recorded.seq}"
                number, keys = next_number, frozenset(diagram.index_of)
            case NodeStarted(node_run=run) if run.node not in keys:
                yield f"{run.node} started at {recorded.seq}, and is not in revision {number}"
            case _:
                pass


def revisions(log: Log) -> Iterable[str]:
    """Each NodeRun is told to be of the revision that was in force when it started."""
    number, in_force = 0, dict[NodeRun, int]()
    for recorded in log:
        match recorded.event:
            case ExecutionStarted(revision=number) | DiagramMutated(revision_number=number):
                pass
            case NodeStarted(node_run=run):
                in_force[run] = number
            case _:
                pass
    for told in fold(log).runs:
        if told.started_at and in_force.get(told.node_run, told.revision) != told.revision:
            yield f"{told.node_run} is told to be of revision {told.revision}"


def memories(log: Log) -> Iterable[str]:
    """No node that ran is forgotten, and none runs the same visit twice."""
    state = ExecutionMachine.replay(log).state
    last: dict[str, int] = {}
    for recorded in log:
        if isinstance(recorded.event, NodeStarted):
            run = recorded.event.node_run
            last[run.node] = max(run.occurrence, last.get(run.node, 0))
    for key, occurrence in last.items():
        known = _occurrence(state, key)
        if known is None or known < occurrence:
            yield f"{key} ran for {occurrence} times, and {known} is known"


def _occurrence(state: ExecutionState, key: str) -> int | None:
    if key in state.diagram.index_of:
        return state.node_state(key).occurrence
    gone = state.gone.get(key)
    return None if gone is None else gone.stood.occurrence


# --- forks --------------------------------------------------------------------------------------


def shared(log: Log, logs: Mapping[ExecutionID, Log]) -> Iterable[str]:
    """A fork begins with what its origin had there, and that has not changed since."""
    for place, recorded in enumerate(log):
        if not isinstance(recorded.event, ExecutionForked):
            continue
        event = recorded.event
        if event.forked_at != place:
            yield f"it is told to be forked at {event.forked_at}, and was at {place}"
        if list(logs[event.origin][:place]) != list(log[:place]):
            yield f"its origin has another log up to {place}"
        yield from _as_it_was(log, place)


def _as_it_was(log: Log, at: int) -> Iterable[str]:
    """Only what makes it a fork is another than in the state that it goes on from."""
    before = ExecutionMachine.replay(log[:at]).state
    after = ExecutionMachine.replay(log[: at + 1]).state
    for each in fields(ExecutionState):
        if each.name in _OF_THE_FORK:
            continue
        if getattr(before, each.name) != getattr(after, each.name):
            yield f"its {each.name} is not that of its origin at {at}"
    if before.waiting.keys() != after.waiting.keys():
        yield f"other nodes wait than in its origin at {at}"
    if after.is_paused or after.early_decisions:
        yield "it begins with what people did to another run"


def overrides(log: Log, request: ForkExecution) -> Iterable[str]:
    """What was to be different is, before anything else happens."""
    at = request.at
    own = log[at + 1 :]
    puts = list(takewhile(lambda each: isinstance(each.event, StateChanged), own))
    before = ExecutionMachine.replay(log[:at]).state.variables
    begun = ExecutionMachine.replay(log[: at + 1 + len(puts)]).state.variables
    undone = {e.event.key for e in puts if isinstance(e.event, StateChanged) and e.event.node_run}
    for key in begun.keys() | before.keys() | request.variables.keys():
        if key in undone and key not in request.variables:
            continue
        wanted = request.variables.get(key, before.get(key))
        if begun.get(key) != wanted:
            yield f"variable {key} is {begun.get(key)}, should be {wanted}"
    if request.diagram is None:  # Results are for nodes as they were.
        yield from _outputs(list(takewhile(_is_of_the_same_graph, own)), request.outputs)


def _outputs(own: Log, outputs: Mapping[str, Any]) -> Iterable[str]:
    """The next that is told of such a node is its result."""
    for key, value in outputs.items():
        wanted = next(iter(value.values())) if isinstance(value, dict) else value
        first = next((e for e in own if _is_of(e, key)), None)
        if first is None:
            continue  # It was not reached.
        is_given = isinstance(first.event, NodeOutputSet)
        if not isinstance(first.event, NodeOutputSet) or first.event.output.body != wanted:
            yield f"{key} was to give {wanted}: {first.event if is_given else 'it ran'}"


def _is_of_the_same_graph(recorded: Recorded) -> bool:
    return not isinstance(recorded.event, DiagramMutated)


def _is_of(recorded: Recorded, key: str) -> bool:
    event = recorded.event
    return isinstance(event, NodeOutputSet | NodeStarted) and event.node_run.node == key


# --- checkpoints --------------------------------------------------------------------------------


async def restored(
    store: StateStore, execution_id: ExecutionID, log: Log, places: Iterable[Seq | None], page: int
) -> Iterable[str]:
    """A state that is put together from a checkpoint is that of the whole log."""
    found = []
    for upto in places:
        loaded = (await load(store, execution_id, upto=upto, page=page)).state
        replayed = ExecutionMachine.replay(log[:upto]).state
        loaded.touched = replayed.touched = set()
        found += [
            f"at {upto or len(log)}: {each.name}"
            for each in fields(ExecutionState)
            if getattr(loaded, each.name) != getattr(replayed, each.name)
        ]
    return found
