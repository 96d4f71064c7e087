"""Whole runs with real logs, written to a store without a runner."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.forking import forkable_until, undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import create_node_output
from dipeo_server.domains.execution.ports import ExecutionSummary, KeyedAnswer, StateStore
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    ForkRequested,
    NodeReturned,
    StartRequested,
)
from dipeo_server.domains.execution.summary import summary_of
from tests.builders import diagram
from tests.storage.records import NOON

CHAIN = "s -> a -> b -> e"
LOOP = "s -> a -> c; c.t -> b -> a; c.f -> e"
DIAGRAMS = {text: diagram(text) for text in (CHAIN, LOOP)}


class Run:
    """One run, step by step, as a runner would write it; `log` is everything it has told."""

    def __init__(
        self,
        execution_id: ExecutionID,
        *,
        text: str = CHAIN,
        at: datetime = NOON,
        parent_id: ExecutionID | None = None,
    ) -> None:
        self.id = execution_id
        self.at = at
        self.machine = ExecutionMachine()
        parent = NodeRun("sub", 1) if parent_id else None
        start = StartRequested(
            execution_id, DIAGRAMS[text], {"of": execution_id}, parent_id=parent_id, parent=parent
        )
        self.log: list[Recorded] = list(self.machine.receive(start, now=at))

    @property
    def summary(self) -> ExecutionSummary:
        return summary_of(self.machine.state)

    def step(self, value: Any = "done", *, port: str = "condfalse") -> None:
        """Everything that runs returns; a condition takes the port."""
        state = self.machine.state
        for node_run in list(state.running.values()):
            output = create_node_output({port if node_run.node == "c" else "default": value})
            self.log += self.machine.receive(NodeReturned(node_run, output), now=self.at)

    def turn(self, turns: int) -> Run:
        """Go round the loop so many times."""
        while self.machine.state.status.is_active and len(self.log) < turns * 10:
            self.step(port="condtrue")
        return self

    def end(self, value: Any = "done") -> Run:
        """Run to the end."""
        while self.machine.state.status.is_active:
            self.step(value)
        return self

    def abort(self) -> Run:
        """Somebody aborts it, and whatever ran stops."""
        self.log += self.machine.receive(AbortRequested("enough", "ann"), now=self.at)
        return self

    def fork(self, execution_id: ExecutionID, at: int | None = None, **wish: Any) -> Run:
        """Another run that goes on behind one of its events, or the last before its end."""
        log = self.log[: forkable_until(self.log) if at is None else at]
        run = Run.__new__(Run)
        run.id, run.at = execution_id, wish.pop("when", self.at)
        run.machine = ExecutionMachine.replay(log)
        request = ForkRequested(execution_id, self.id, log[-1].event, undone(log), **wish)
        run.log = [*log, *run.machine.receive(request, now=run.at)]
        return run

    async def write(self, store: StateStore, answers: Sequence[KeyedAnswer] = ()) -> Run:
        """Append all of it at once; of a fork what is its own."""
        after = self.machine.state.forked_at or Seq(0)
        own = self.log[after:]
        await store.append(self.id, own, after=after, summary=self.summary, answers=answers)
        return self
