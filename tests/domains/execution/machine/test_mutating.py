"""What may be changed in the graph of a run, what not, and what new edges bring."""

from __future__ import annotations

from typing import Any

import pytest

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.mutations import (
    DeleteEdge,
    DeleteNode,
    GraphMutation,
    UpsertEdge,
    UpsertNode,
)
from dipeo_server.domains.execution.events import NodeSkipped, NodeStarted
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.signals import (
    GraphMutationRequested,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
)
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import InvalidState
from tests.domains.execution.machine.test_changing_graphs import Changed
from tests.reference.machine_run import executable
from tests.reference.sketch import Sketch


def graph(text: str) -> ExecutableDiagram:
    return executable(Sketch.parse(text), cap=9)


def node(key: str, **props: Any) -> UpsertNode:
    return UpsertNode({"key": key, "type": "plain", "props": props})


def edge(source: str, target: str, **more: Any) -> UpsertEdge:
    return UpsertEdge({"source": source, "target": target, **more})


class Told(Changed):
    def ends(self, key: str, *, is_failing: bool = False) -> None:
        self.end(self.state.diagram.index_of[key], is_failing=is_failing)

    def started(self) -> list[str]:
        events = [each.event for each in self.log]
        return [each.node_run.node for each in events if isinstance(each, NodeStarted)]

    def refuses(self, *mutations: GraphMutation) -> str:
        assert not self.change(*mutations)
        return self.refusals[-1]


def test_a_new_edge_carries_what_its_node_gave() -> None:
    run = Told(graph("s -> a; s -> b"), 1)
    run.ends("s")
    run.ends("a")
    assert run.change(node("c"), edge("a", "c"))
    assert run.started()[-1] == "c"
    [ref] = run.state.inputs[run.state.diagram.index_of["c"]]
    assert ref.envelope.produced_by == "a"


def test_a_node_that_runs_keeps_its_edges_in_and_may_get_others_out() -> None:
    run = Told(graph("s -> a -> b"), 1)
    run.ends("s")
    assert "is running, so it cannot be deleted" in run.refuses(DeleteNode("a"))
    into = run.state.diagram.edges[run.state.diagram.nodes[1].incoming[0]].key
    assert "cut off from every start" in run.refuses(DeleteEdge(into))
    assert "settings cannot be changed" in run.refuses(node("a", max_iteration=3))
    assert run.change(node("c"), edge("a", "c"), DeleteNode("b"))
    run.ends("a")
    run.ends("c")
    assert run.state.status is ExecutionStatus.COMPLETED


def test_a_loop_that_has_begun_keeps_its_form_and_may_get_exits() -> None:
    run = Told(graph("s -> a -> b -> a; s -> c"), 1)
    run.ends("s")
    run.ends("a")
    assert "The loop at 'a' has begun" in run.refuses(node("d"), edge("b", "d"), edge("d", "a"))
    assert run.change(UpsertNode({"key": "e", "type": "endpoint"}), edge("a", "e"))
    assert "e" not in run.started()


def test_a_change_of_another_graph_than_the_runs_is_refused() -> None:
    run = Told(graph("s -> a -> b"), 1)
    before = run.state.diagram
    assert run.change(node("c"), edge("b", "c"))
    with pytest.raises(InvalidState, match="changed meanwhile"):
        run.tell(GraphMutationRequested(before, 0))
    assert run.state.revision == 1


def test_a_failed_node_is_mended_and_run_again() -> None:
    run = Told(graph("s -> a -> b"), 1)
    run.ends("s")
    run.tell(PauseRequested())
    run.ends("a", is_failing=True)
    assert run.change(node("a", max_iteration=5))
    run.tell(RetryRequested("a"))
    run.tell(ResumeRequested())
    assert "cannot be deleted" in run.refuses(DeleteNode("a"))


def test_what_a_pause_stopped_runs_again_with_its_new_settings() -> None:
    run = Told(graph("s -> a -> b"), 1)
    run.ends("s")
    run.tell(PauseRequested(PauseMode.NOW))
    assert run.change(node("a", max_iteration=5))
    run.tell(ResumeRequested())
    run.ends("a")
    run.ends("b")
    assert run.state.status is ExecutionStatus.COMPLETED


def test_a_node_that_comes_back_counts_its_visits_on() -> None:
    run = Told(graph("s -> a -> b; s -> c"), 1)
    run.ends("s")
    run.ends("a")
    run.tell(PauseRequested(PauseMode.NOW))
    into = edge("s", "a", label="input")
    run.tell(ResumeRequested())
    run.ends("b")
    assert run.change(DeleteNode("a"))
    assert run.change(node("a"), into)
    assert run.state.running[run.state.diagram.index_of["a"]] == NodeRun("a", 2)


def test_what_no_start_reaches_any_more_is_skipped() -> None:
    run = Told(graph("s -> a -> b; s -> c"), 1)
    assert run.change(DeleteNode("a"))
    skipped = [each.event for each in run.log if isinstance(each.event, NodeSkipped)]
    assert [(each.node, each.reason) for each in skipped] == [("b", "unreachable")]
