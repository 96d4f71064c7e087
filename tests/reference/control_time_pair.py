"""The pair of machine and reference, with people who fork runs, change graphs and keep states."""

from __future__ import annotations

import asyncio
import copy
import itertools
from typing import Any

from structlog.testing import capture_logs

from dipeo_server.domains.diagram.mutations import (
    DeleteEdge,
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
    apply_mutations,
)
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.forking import undone
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.signals import (
    CheckpointRequested,
    ForkRequested,
    GraphMutationRequested,
    Signal,
)
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.runtime.loading import load
from dipeo_server.storage.memory import MemoryStore
from tests.builders import NOON, SPECS
from tests.reference.control_flow import Plan
from tests.reference.control_graph import Change
from tests.reference.control_pair import Pair, Setting
from tests.reference.control_run import LIMIT


class TimedPair(Pair):
    """One run, twice, and what it goes on from: `origins` are runs, and where they were left."""

    def __init__(self, setting: Setting) -> None:
        self.origins: list[tuple[ExecutionID, Seq]] = []
        self.forgotten: set[str] = set()
        self._numbers = itertools.count(1)
        super().__init__(setting)

    def replayed(self) -> ExecutionMachine:
        """The machine from the newest checkpoint on: as it is live, and behind the whole log."""
        super().replayed()
        return self.restored()

    def restored(self) -> ExecutionMachine:
        """The machine from the newest checkpoint on: as it is live. Raises AssertionError."""
        with capture_logs() as complaints:
            again = asyncio.run(self._load())
        assert not complaints, complaints
        again.take_changes()
        self.machine.take_changes()
        assert again.state == self.state
        return again

    async def _load(self) -> ExecutionMachine:
        store = MemoryStore()
        first = 0
        for execution_id, last in (*self.origins, (self.state.id, Seq(len(self.log)))):
            taken = [
                each
                for each in self.kept
                if each.checkpoint.execution_id == execution_id
                and first <= each.checkpoint.at < last
            ]
            state = ExecutionMachine.replay(self.log[:last]).state
            await store.append(
                execution_id,
                self.log[first:last],
                after=Seq(first),
                summary=summary_of(state),
                checkpoints=taken,
            )
            for each in taken:
                if each.checkpoint.id in self.forgotten:
                    await store.checkpoints.delete(execution_id, each.checkpoint.at)
            first = last
        return await load(store, self.state.id, page=3)

    def save(self) -> None:
        """Somebody wants a checkpoint."""
        self.tell(CheckpointRequested("ann"), lambda model: model.save())

    def forget(self, pick: int) -> None:
        """Somebody deletes a checkpoint: nothing changes."""
        if self.kept:
            self.forgotten.add(self.kept[pick % len(self.kept)].checkpoint.id)

    def mutate(self, change: Change) -> str | None:
        """Somebody changes the graph."""
        for signal in self._changes(change):
            return self.tell(signal, lambda model: model.mutate(change))
        return None

    def _changes(self, change: Change) -> list[Signal]:
        """The wish for the change; none where no graph could be like that."""
        try:
            new = apply_mutations(self.state.diagram, self._mutations(change), SPECS).executable
        except DiagramInvalid:
            return []
        return [GraphMutationRequested(new, self.state.revision)]

    def _mutations(self, change: Change) -> list[GraphMutation]:
        nodes, edges = self.state.diagram.nodes, self.state.diagram.edges
        gone = {
            (nodes[each.source].key, each.source_handle, nodes[each.target].key): each.key
            for each in edges
        }
        found: list[GraphMutation] = [DeleteNode(name) for name in sorted(change.no_names)]
        found += [DeleteEdge(gone[edge]) for edge in sorted(change.no_edges)]
        settings = {"after_crash": "rerun", "max_iteration": LIMIT}
        found += [UpsertNode({"key": n, "type": "work", "props": settings}) for n in change.names]
        found += [
            UpsertEdge({"source": source, "source_handle": port, "target": target})
            for source, port, target in change.edges
        ]
        for name, limit in change.limits.items():
            node = self.state.diagram.get_node(name)
            props = {**node.props, "max_iteration": limit}
            found.append(UpsertNode({"key": name, "type": node.type, "props": props}))
        return found

    def graph_at(self, pick: int) -> Plan:
        """What the graph was where `fork` forks with that pick."""
        return self.past[-1 - pick % len(self.past)].model.document

    def fork(
        self,
        pick: int,
        *,
        is_paused: bool,
        output: tuple[str, Any, str] | None,
        change: Change | None = None,
    ) -> None:
        """Somebody forks the run: from then on the pair is the fork, twice, if it is granted."""
        past, before = self.past[-1 - pick % len(self.past)], dict(vars(self))
        log = self.log[: past.at]
        owner = next((each for each, last in self.origins if last >= past.at), self.state.id)
        self.origins = [each for each in self.origins if each[1] < past.at] + [(owner, past.at)]
        self.model, self.log = copy.deepcopy(past.model), list(log)
        self.model.now = before["model"].now
        self.machine = ExecutionMachine.replay(log)
        self.past = [each for each in self.past if each.at <= past.at]
        request = ForkRequested(
            ExecutionID(f"fork{next(self._numbers)}"),
            owner,
            log[-1].event,
            undone(log),
            outputs={} if output is None else {output[0]: output[1]},
            is_paused=is_paused,
        )
        left = round((log[-1].at - NOON).total_seconds())
        given = None if output is None else (output[0], output[2])
        more = [] if change is None else self._changes(change)
        refusal = self.tell(
            request,
            lambda model: model.fork(
                left, is_paused=is_paused, output=given, change=change if more else None
            ),
            *more,
        )
        assert before["log"][: past.at] == self.log[: past.at]
        if refusal is not None:
            vars(self).update(before)
