"""The verdicts at the end of a simulation: promises kept, subscribers served, runs settled."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dipeo_server.domains.execution.blobs import Blobs
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    CheckpointSaved,
    DiagramMutated,
    EarlyDecisionChanged,
    Event,
    ExecutionAborted,
    ExecutionForked,
    ExecutionStarted,
    ExecutionStatusChanged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from tests.reference.interpreter import run as interpret
from tests.reference.outcome import Outcome
from tests.simulation.oracles import Ack, Found, Violation, Witness, judge_log, short, visit
from tests.simulation.scenario import PADDING, Person, RunPlan, Scenario
from tests.simulation.time_oracles import memories, overrides, revisions, shared

Log = Sequence[Recorded]


def judge(scenario: Scenario, witness: Witness) -> Found:
    """Everything that can be said at the end."""
    logs, names = witness.disk.logs, witness.disk.names
    for lost in witness.disk.lost:
        yield Violation("a blob is kept before its event", f"{lost.seq} {type(lost.event)}")
    for execution_id, log in logs.items():
        yield from judge_log(names[execution_id], log)
        yield from _abort_stops(names[execution_id], log)
        yield from _ends_with_its_parent(names[execution_id], log, logs)
        yield from _over_time(names[execution_id], log, logs)
        yield from _results_have_effects(witness, execution_id, log)
    yield from _aborts_win(witness)
    yield from _forks(witness)
    yield from _refusals(witness)
    for ack in witness.acks:
        yield from _is_kept(ack, names, logs.get(ack.execution_id, []))
    for reader, execution_id in witness.read_by.items():
        yield from _is_prefix(reader, witness.received[reader], logs.get(execution_id, []))
    for plan in scenario.runs:
        found = [log for execution_id, log in logs.items() if names[execution_id] == plan.name]
        if len(found) > 1:
            yield Violation("a key starts one execution", f"{plan.name}: {len(found)}")
        yield from _is_settled(plan, found[0] if found else [], witness.disk.store.blobs)


def _is_prefix(reader: str, received: Log, log: Log) -> Found:
    if list(received) != list(log[: len(received)]):
        yield Violation("a subscriber gets the log", f"{reader}: {len(received)} events differ")


# --- acknowledged is kept -----------------------------------------------------------------------


def _is_kept(ack: Ack, names: Mapping[ExecutionID, str], log: Log) -> Found:
    """What was acknowledged is in the log, at or before the sequence that was told."""
    known = [recorded.event for recorded in log[: ack.sequence]]
    if not any(_is_it(ack, event) for event in known):
        name = names.get(ack.execution_id, "unborn")
        what = f"{ack.mutation} {name} {ack.about}: not within the first {ack.sequence}"
        yield Violation("what is acknowledged is kept", what)


def _is_it(ack: Ack, event: Event) -> bool:
    match ack.mutation, event:
        case "start", ExecutionStarted():
            return True
        case "abort", ExecutionAborted():
            return True
        case "abort", ExecutionStatusChanged(ending=ending):
            return ending is not None and ending.cause == "abort"
        case "decide", BarrierResolved(node_run=run, status=status):
            about = f"{run.node}#{run.occurrence}"
            return ack.about.startswith(f"{about} ") and ack.about.endswith(status.value)
        case _:
            return _is_steering(ack, event)


def _is_steering(ack: Ack, event: Event) -> bool:
    match ack.mutation, event:
        case "pause", ExecutionStatusChanged(after=after):
            return after is ExecutionStatus.PAUSED
        case "resume", ExecutionStatusChanged(reason=reason):
            return reason == "resumed"
        case "step", ExecutionStatusChanged(step=step):
            return step is not None
        case "early", EarlyDecisionChanged(node=node, change=change):
            return (ack.about, change) == (node, "recorded")
        case "fork", ExecutionForked(actor=actor):
            return actor == ack.about
        case "save", CheckpointSaved():
            return True
        case _:  # Breakpoints may have been so already; what is revoked, every log is asked.
            return ack.mutation in {"break", "revoke", "change"}


def _aborts_win(witness: Witness) -> Found:
    """Whoever was told that a run is aborted finds it so."""
    for execution_id in witness.aborted_at:
        log = witness.disk.logs[execution_id]
        if log[-1].is_terminal and not isinstance(log[-1].event, ExecutionAborted):
            what = f"{witness.name_of(execution_id)} ended with {type(log[-1].event).__name__}"
            yield Violation("an abort wins", what)


def _abort_stops(name: str, log: Log) -> Found:
    """Behind an abort nothing starts, and the run ends as aborted."""
    is_ending = False
    for recorded in log:
        match recorded.event:
            case ExecutionStatusChanged(ending=ending) if ending is not None:
                is_ending = True
            case NodeStarted(node_run=run) if is_ending:
                yield Violation("abort stops", f"{name}: {short(run)} at {recorded.seq}")
            case _:
                pass


def _results_have_effects(witness: Witness, execution_id: ExecutionID, log: Log) -> Found:
    """What completed has had its effect, in some attempt of the visit."""
    origins, owners = witness.disk.forks, [execution_id]
    while owners[-1] in origins:
        owners.append(origins[owners[-1]])
    had = {visit(run) for owner, run in witness.effects if owner in owners}
    diagram = ExecutionMachine.replay(log[:1]).state.diagram
    for recorded in log:
        match recorded.event:
            case DiagramMutated(diagram=diagram):
                pass
            case NodeCompleted(node_run=run) if not diagram.get_node(run.node).is_pure:
                if visit(run) not in had:
                    what = f"{witness.name_of(execution_id)}: {short(run)} completed without one"
                    yield Violation("effects happen at least once", what)
            case _:
                pass


def _over_time(name: str, log: Log, logs: Mapping[ExecutionID, Log]) -> Found:
    """Whatever becomes of its graph, and whatever run it goes on from."""
    promises = {
        "a fork goes on from its origin": shared(log, logs),
        "nothing that ran is forgotten": memories(log),
        "a visit is of the revision in force": revisions(log),
    }
    for oracle, broken in promises.items():
        yield from (Violation(oracle, f"{name}: {what}") for what in broken)


def _forks(witness: Witness) -> Found:
    """Each is as it was asked for, there is one, and it ends or waits as runs do."""
    logs, blobs = witness.disk.logs, witness.disk.store.blobs
    for execution_id, made in witness.forks.items():
        log = logs[execution_id]
        for what in overrides(log, made.request):
            yield Violation("a fork differs as it was to", f"{made.plan.name}: {what}")
        yield from _is_settled(made.plan, log, blobs)
    roots = Counter(name for name in witness.disk.names.values() if "~" in name and "/" not in name)
    yield from (
        Violation("a key starts one execution", f"{name}: {count}")
        for name, count in roots.items()
        if count > 1
    )


def _refusals(witness: Witness) -> Found:
    """What was refused has changed nothing."""
    for log in witness.disk.logs.values():
        for recorded in log:
            match recorded.event:
                case DiagramMutated(actor=actor) | ExecutionForked(actor=actor, parent=None):
                    if actor in witness.refused:
                        yield Violation("a refusal changes nothing", f"{actor}: {recorded.seq}")
                case _:
                    pass


# --- how runs end -------------------------------------------------------------------------------


def _is_settled(plan: RunPlan, log: Log, blobs: Blobs) -> Found:
    """A run ends, or can name the person whom it waits for."""
    if not log:
        yield Violation("every run ends or waits", f"{plan.name} was never accepted")
        return
    state = ExecutionMachine.replay(log).state
    if not state.status.is_terminal:
        yield from _names_its_wait(plan, state)
        return
    if plan.abort_at is None and state.status is ExecutionStatus.ABORTED:
        yield Violation("every run ends or waits", f"{plan.name} was aborted by nobody")
    if plan.is_comparable:
        yield from _is_as_the_reference_says(plan, log, state, blobs)


def _names_its_wait(plan: RunPlan, state: ExecutionState) -> Found:
    waits = [each for each in state.barriers.values() if each.status is BarrierStatus.WAITING]
    is_idle = state.status is ExecutionStatus.WAITING and not state.running
    if plan.person is not Person.ABSENT or not waits or not is_idle:
        what = f"{plan.name} is {state.status}; running {list(state.running.values())}"
        yield Violation("every run ends or waits", what)


def _ends_with_its_parent(name: str, log: Log, logs: Mapping[ExecutionID, Log]) -> Found:
    state = ExecutionMachine.replay(log).state
    if state.parent is None or state.parent_id is None:
        return
    # Who was to be the parent of a forked child may never have begun.
    has_ended = state.parent_id not in logs or logs[state.parent_id][-1].is_terminal
    if has_ended and not log[-1].is_terminal:
        yield Violation("a child ends with its parent", f"{name} goes on")


def _is_as_the_reference_says(
    plan: RunPlan, log: Log, state: ExecutionState, blobs: Blobs
) -> Found:
    expected = interpret(plan.sketch, plan.script, min, plan.failures, cap=plan.cap)
    for name, wanted, found in _differences(plan, _outputs(log, blobs), state, expected):
        what = f"{plan.name} {name}: {found}, should be {wanted}"
        yield Violation("the result is the reference's", what)
    wanted_status = ExecutionStatus.FAILED if expected.failed else ExecutionStatus.COMPLETED
    if state.status is not wanted_status:
        what = f"{plan.name} is {state.status}, should be {wanted_status}"
        yield Violation("the result is the reference's", what)


def _outputs(log: Log, blobs: Blobs) -> Mapping[str, Mapping[int, object]]:
    """By node and occurrence; None for what failed."""
    found: dict[str, dict[int, object]] = defaultdict(dict)
    for recorded in log:
        match recorded.event:
            case NodeCompleted(node_run=run, output=envelope):
                body = json.loads(blobs.read(envelope.blob)) if envelope.blob else envelope.body
                found[run.node][run.occurrence] = str(body).rstrip(PADDING)
            case NodeFailed(node_run=run, will_retry=False):
                found[run.node][run.occurrence] = None
            case _:
                pass
    return found


def _differences(
    plan: RunPlan,
    outputs: Mapping[str, Mapping[int, object]],
    state: ExecutionState,
    expected: Outcome,
) -> Iterable[tuple[str, object, object]]:
    for index, node in enumerate(expected.nodes):
        name, now = plan.sketch.names[index], state.nodes[index]
        yield from _unless_same(f"{name} status", node.status, now.status.value)
        is_skipped = now.status is NodeExecutionStatus.SKIPPED
        yield from _unless_same(
            f"{name} reason", node.reason, now.skip_reason if is_skipped else None
        )
        found = tuple(body for _, body in sorted(outputs.get(name, {}).items()))
        yield from _unless_same(f"{name} outputs", node.outputs, found)
        yield from _unless_same(f"{name} executed", node.executed, now.executed)


def _unless_same(name: str, wanted: object, found: object) -> Iterable[tuple[str, object, object]]:
    if wanted != found:
        yield name, wanted, found
