"""ExecutionStateManager: an execution's state for those who drive it by hand (source document 002).

There is one truth, the event log: saving a state appends what is new in it, as events, in one
transaction; loading folds the log. So whatever was saved can be taken up by any runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import Failure, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import NodeOutput
from dipeo_server.domains.execution.ports import Clock, StateStore
from dipeo_server.domains.execution.saved_state import SavedState
from dipeo_server.domains.execution.signals import NodeRaised, NodeReturned, Signal, StartRequested
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import InvalidState, NotFound

PAGE_EVENTS = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExecutionStateManager:
    """Manages an execution's state over its log: atomic, and usable for resumption.

    Without a clock, what is saved is dated by the newest message in it.
    """

    def __init__(self, store: StateStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock

    async def save_state(self, execution_id: str, state: SavedState) -> Seq:
        """Append what is new in this state; gives the log's last sequence.

        Raises InvalidState for an output of a node that the diagram does not let run yet.
        """
        identity = ExecutionID(execution_id)
        machine = await self._machine(identity)
        after, now = machine.last_seq, self._now(state.node_outputs)
        new: list[Recorded] = []
        if after == 0:
            start = StartRequested(identity, state.diagram, state.variables)
            new.extend(machine.receive(start, now=now))
        for key, envelope in state.node_outputs.items():
            if not _is_kept(machine.state, key, envelope):
                signal = _returned(machine.state, key, envelope)
                new.extend(machine.receive(signal, now=now))
        for key in sorted(state.failed_nodes):
            if machine.state.node_state(key).status is not NodeExecutionStatus.FAILED:
                new.extend(machine.receive(_raised(machine.state, key), now=now))
        return await self._append(machine, new, after)

    async def load_state(self, execution_id: str, *, at: Seq | None = None) -> SavedState:
        """The state behind the whole log, or behind its first `at` events. Raises NotFound."""
        return saved(await self.fold(ExecutionID(execution_id), at=at))

    async def update_node_status(
        self, execution_id: str, node_id: str, status: NodeExecutionStatus | str
    ) -> Seq:
        """Tell how a running node ended. RUNNING and repetitions change nothing."""
        wanted = NodeExecutionStatus(status)
        machine = await self._machine(ExecutionID(execution_id))
        if machine.last_seq == 0:
            raise NotFound(f"There is no execution {execution_id!r}.")
        after = machine.last_seq
        current = machine.state.node_state(node_id).status
        if wanted in {NodeExecutionStatus.RUNNING, current}:
            return after
        run = _running(machine.state, node_id)
        signal: Signal = NodeReturned(run, NodeOutput({"default": None}))
        if wanted is NodeExecutionStatus.FAILED:
            signal = _raised(machine.state, node_id)
        elif wanted is not NodeExecutionStatus.COMPLETED:
            raise InvalidState(f"{node_id!r} cannot be told to be {wanted}: the engine decides.")
        new = machine.receive(signal, now=self._now(machine.state.outputs))
        return await self._append(machine, list(new), after)

    async def fold(self, execution_id: ExecutionID, *, at: Seq | None = None) -> ExecutionState:
        """The machine's state behind the log, or behind its first `at` events."""
        machine = await self._machine(execution_id, at=at)
        if machine.last_seq == 0:
            raise NotFound(f"There is no execution {execution_id!r}.")
        return machine.state

    def _now(self, outputs: Mapping[str, Envelope]) -> datetime:
        if self._clock is not None:
            return self._clock.now()
        times = (each.timestamp for each in outputs.values() if each.timestamp is not None)
        return max(times, default=EPOCH)

    async def _machine(
        self, execution_id: ExecutionID, *, at: Seq | None = None
    ) -> ExecutionMachine:
        history: list[Recorded] = []
        while page := await self._store.read(
            execution_id, after=history[-1].seq if history else Seq(0), limit=PAGE_EVENTS
        ):
            history.extend(page)
            if at is not None and history[-1].seq >= at:
                history = [recorded for recorded in history if recorded.seq <= at]
                break
        return ExecutionMachine.replay(history)

    async def _append(self, machine: ExecutionMachine, new: list[Recorded], after: Seq) -> Seq:
        if new:
            state = machine.state
            await self._store.append(state.id, new, after=after, summary=summary_of(state))
        return machine.last_seq


def saved(state: ExecutionState) -> SavedState:
    """The state as a value that a context can be made from."""
    nodes = state.diagram.nodes
    return SavedState(
        execution_id=state.id,
        diagram=state.diagram,
        node_outputs=dict(state.outputs),
        variables=dict(state.variables),
        failed_nodes=frozenset(
            node.key
            for node in nodes
            if state.nodes[node.index].status is NodeExecutionStatus.FAILED
        ),
        status=state.status,
        node_states={node.key: state.nodes[node.index] for node in nodes},
        start_time=state.created_at,
        end_time=state.ended_at,
    )


def _is_kept(state: ExecutionState, key: str, envelope: Envelope) -> bool:
    """Is it there already? What was kept has a time and an id of its own."""
    known = state.outputs.get(key)
    if known is None or state.diagram.index_of[key] in state.running:
        return known == envelope
    return known.body == envelope.body and known.has_error() == envelope.has_error()


def _running(state: ExecutionState, key: str) -> NodeRun:
    run = state.running.get(state.diagram.index_of.get(key, -1))
    if run is None:
        message = f"Node {key!r} is not running in execution {state.id!r}."
        raise InvalidState(message, hint="Save outputs in the order in which nodes become ready.")
    return run


def _returned(state: ExecutionState, key: str, envelope: Envelope) -> NodeReturned:
    by_port = envelope.meta.get("by_port") and isinstance(envelope.body, Mapping)
    value = envelope.body if by_port else {"default": envelope.body}
    output = NodeOutput(value, envelope.meta, envelope.content_type)
    return NodeReturned(_running(state, key), output)


def _raised(state: ExecutionState, key: str) -> NodeRaised:
    return NodeRaised(_running(state, key), Failure("INTERNAL", f"{key!r} failed.", key))
