"""The states of one execution graph: found by their ids, and read from the logs of its runs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import Failure
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.state import ExecutionState as RunState
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.executors.execution_evaluation import OperationExecutionEvent
from dipeo_server.executors.execution_graph_errors import StateNotFound
from dipeo_server.executors.execution_line import Line, Segment
from dipeo_server.executors.execution_state import DISPATCHED, ExecutionState, OperationOutput
from dipeo_server.executors.messages import HEAD
from dipeo_server.executors.operation_diagram import INPUT, OUTPUT, program_of
from dipeo_server.executors.operations import operation_id_of
from dipeo_server.runtime.local import LocalRunner

CONSUMED: Final = "__consumed__"
"""The variable of a run that has, by node, up to which visit its value was consumed."""

LINES_PAGE: Final = 1_000
_PRINTED_MAX: Final = 1_000


class Place(NamedTuple):
    """Where a state is."""

    line: Line
    segment: Segment

    @property
    def is_newest(self) -> bool:
        """Is the run still at it, so that what comes next needs no fork?"""
        is_last = self.line.newest is self.segment and self.line.last == self.segment.last
        return is_last and not self.line.is_call


class Printed(NamedTuple):
    """What one visit printed."""

    stdout: tuple[str, ...]
    stderr: tuple[str, ...]


class States:
    """Every run of the graph as a line of states; `told` is what operations did, in order."""

    def __init__(self, store: StateStore, runner: LocalRunner) -> None:
        self._store = store
        self._runner = runner
        self.lines: dict[ExecutionID, Line] = {}
        self.told: list[OperationExecutionEvent] = []
        self.news = asyncio.Condition()
        self._places: dict[UUID, Place] = {}
        self._depths: dict[UUID, int] = {}
        self._read_to: dict[tuple[ExecutionID, str], tuple[int, int]] = {}
        self._printed: OrderedDict[tuple[ExecutionID, str, int], Printed] = OrderedDict()

    # --- following ------------------------------------------------------------------------------

    async def follow(self, execution_id: ExecutionID) -> Line | None:
        """Take note of what a run of the graph has committed; None for any other run."""
        line = self.lines.get(execution_id)
        if line is None:
            summary = await self._store.summary(execution_id)
            if summary is None or summary.parent_id not in self.lines:
                return None
            line = self.lines.setdefault(execution_id, Line(execution_id))
        await self._caught_up(line)
        return line

    async def take(self, execution_id: ExecutionID) -> Line:
        """Take note of a run that is known to be one of the graph's."""
        line = self.lines.setdefault(execution_id, Line(execution_id))
        await self._caught_up(line)
        return line

    async def _caught_up(self, line: Line) -> None:
        known = len(line.segments)
        told = await line.catch_up(self._store)
        for segment in line.segments[max(0, known - 1) :]:
            self._places.setdefault(segment.id, Place(line, segment))
        if told:
            self.told.extend(told)
            async with self.news:
                self.news.notify_all()

    # --- looking --------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Place]:
        """In the order of their ids, and so of their times."""
        return iter(self._places[each] for each in sorted(self._places))

    def find(self, state_id: UUID) -> Place | None:
        """Where the state is, or None."""
        return self._places.get(state_id)

    def place(self, state_id: UUID | None) -> Place:
        """Where the state is. Raises StateNotFound."""
        found = None if state_id is None else self._places.get(state_id)
        if found is None:
            raise StateNotFound(f"The graph has no state {state_id}.")
        return found

    def parent_of(self, place: Place) -> UUID | None:
        """The state that it was made from; of the first one of a call, that which called."""
        line, segment = place
        if segment.index:
            return line.segments[segment.index - 1].id
        if line.caller is not None:
            caller, run = line.caller
            known = self.lines[caller].segments if caller in self.lines else []
            return next((each.id for each in reversed(known) if run in each.runs), None)
        if line.origin is None:
            return None
        return self._state_at(line, line.forked_at)

    def _owner(self, line: Line, sequence: Seq) -> Line:
        """The run whose own event it is."""
        while line.origin is not None and sequence <= line.forked_at:
            line = self.lines[line.origin]
        return line

    def _state_at(self, line: Line, sequence: Seq) -> UUID | None:
        segment = self._owner(line, sequence).segment_at(sequence)
        return None if segment is None else segment.id

    def depth(self, place: Place) -> int:
        """How many states came before it."""
        chain: list[UUID] = []
        here: UUID | None = place.segment.id
        while here is not None and here not in self._depths:
            chain.append(here)
            here = self.parent_of(self._places[here])
        known = -1 if here is None else self._depths[here]
        for each in reversed(chain):
            known += 1
            self._depths[each] = known
        return self._depths[place.segment.id]

    # --- reading --------------------------------------------------------------------------------

    async def run_at(self, place: Place) -> RunState:
        """The run as it was there; to be looked at, never changed. Raises StorageError."""
        line, segment = place
        if line.run is not None and line.run.last_seq == segment.last:
            return line.run
        found = await self._runner.past(line.id, segment.last)
        if found is None:
            raise StateNotFound(f"The graph has no state {segment.id}.")
        return found

    async def read(self, place: Place) -> ExecutionState:
        """The state as a value. Raises StorageError."""
        run = await self.run_at(place)
        program = program_of(run.diagram)
        consumed: Mapping[str, int] = run.variables.get(CONSUMED, {})
        taken = {
            key: envelope
            for key, envelope in run.outputs.items()
            if key not in (INPUT, OUTPUT) and consumed.get(key, 0) < envelope.occurrence
        }
        ready = [operation_id_of(run.diagram.nodes[index].key) for index in run.ready]
        failures = self._failures(run)
        head, parent_id = run.variables.get(HEAD, 0), self.parent_of(place)
        fresh = frozenset(place.segment.fresh)
        return ExecutionState(
            id=place.segment.id,
            parent_id=parent_id,
            operations=program.operations,
            outputs=await self._outputs(place.line, taken),
            failures=failures,
            fresh=fresh,
            ready=tuple(each for each in ready if each is not None),
            exec_counter=self.depth(place),
            message_head=int(head),
        )

    def _failures(self, run: RunState) -> dict[int, Failure]:
        found: dict[int, Failure] = {}
        for node, state in zip(run.diagram.nodes, run.nodes, strict=True):
            if state.status is NodeExecutionStatus.FAILED and state.failure is not None:
                operation = operation_id_of(node.key)
                found[DISPATCHED if operation is None else operation] = state.failure
        return found

    async def _outputs(
        self, line: Line, taken: Mapping[str, Envelope]
    ) -> dict[int, OperationOutput]:
        """By operation; of calls only the newest one counts."""
        found: dict[int, OperationOutput] = {}
        for key, envelope in sorted(taken.items(), key=lambda each: each[1].seq or 0):
            operation = operation_id_of(key)
            output = await self._output(line, key, envelope)
            found[DISPATCHED if operation is None else operation] = output
        return found

    async def _output(self, line: Line, key: str, envelope: Envelope) -> OperationOutput:
        owner = self._owner(line, envelope.seq or Seq(0))
        printed = await self._lines_of(owner.id, key, envelope.occurrence)
        return OperationOutput(
            await self._body(envelope),
            printed.stdout,
            printed.stderr,
            self._state_at(line, envelope.seq or Seq(0)),
            envelope.occurrence,
        )

    async def _body(self, envelope: Envelope) -> Any:
        loaded = envelope if envelope.blob is None else await self._runner.loaded(envelope)
        return loaded.body

    async def _lines_of(self, execution_id: ExecutionID, key: str, occurrence: int) -> Printed:
        wanted = (execution_id, key, occurrence)
        known = self._printed.get(wanted)
        if known is not None:
            self._printed.move_to_end(wanted)
            return known
        streams: dict[str, list[str]] = {"stdout": [], "stderr": []}
        before, read_to = self._read_to.get((execution_id, key), (0, 0))
        after = read_to if before < occurrence else 0
        while page := await self._runner.read_logs(
            execution_id, after=after, limit=LINES_PAGE, node=key
        ):
            after = page[-1].cursor
            for each in page:
                if each.node_run.occurrence == occurrence:
                    streams.setdefault(each.stream, []).append(each.text)
                    before, read_to = max((before, read_to), (occurrence, each.cursor))
        found = Printed(tuple(streams["stdout"]), tuple(streams["stderr"]))
        self._printed[wanted] = found
        self._read_to[execution_id, key] = (before, read_to)
        while len(self._printed) > _PRINTED_MAX:
            self._printed.popitem(last=False)
        return found
