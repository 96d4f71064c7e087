"""Runs under control that are forked, kept, and whose graphs change, against the reference."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from dipeo_server.domains.execution.checkpoint import CheckpointPolicy, CheckpointTrigger
from tests.domains.execution.machine.test_control_model import DIAGRAMS, PICKS, ControlMachine
from tests.reference.control_graph import Change, leads_to
from tests.reference.control_pair import Setting
from tests.reference.control_time_pair import TimedPair

EXAMPLES, EXAMPLES_MANY = 200, 2_000
STEPS = 20
NEW = ("n1", "n2", "n3")
POLICIES: tuple[CheckpointPolicy, ...] = (
    (),
    (CheckpointTrigger.EVERY_STEP,),
    (CheckpointTrigger.HUMAN_DECISION, CheckpointTrigger.BARRIER_RESOLVED),
)


class TimedMachine(ControlMachine):
    """Somebody does something to a run, or to what it was, or is to be."""

    pair: TimedPair

    @initialize(
        text=st.sampled_from(DIAGRAMS),
        strategy=st.sampled_from(["FAIL_FAST", "COLLECT", "COLLECT_PARTIAL"]),
        checkpoints=st.sampled_from(POLICIES),
        limits=st.tuples(st.sampled_from([10_000, 10_000, 4]), st.sampled_from([None, None, 20])),
        is_paused=st.booleans(),
    )
    def begins(
        self,
        text: str,
        strategy: str,
        checkpoints: CheckpointPolicy,
        limits: tuple[int, int | None],
        is_paused: bool,
    ) -> None:
        setting = Setting(text, strategy, "reject", *limits, is_paused, checkpoints)
        self.pair = TimedPair(setting)
        self.gone = []

    def name(self, pick: int) -> str:
        """A node, or now and then one that there is not."""
        names = list(self.pair.model.nodes)
        return "nobody" if pick == 9 else names[pick % len(names)]

    # --- graphs ---------------------------------------------------------------------------------

    @rule(pick=PICKS, port=PICKS, onward=st.one_of(st.none(), PICKS))
    def somebody_adds_a_node(self, pick: int, port: int, onward: int | None) -> None:
        """Behind a node, and perhaps before another one that was not reached yet."""
        change = self.more(pick, port, onward)
        if change is not None:
            self.pair.mutate(change)

    def more(self, pick: int, port: int, onward: int | None) -> Change | None:
        document = self.pair.model.document
        new = next((each for each in NEW if each not in document.names), None)
        if new is None:
            return None
        source = document.names[pick % len(document.names)]
        edges = [(source, ports(source)[port % len(ports(source))], new)]
        targets = self.before_which_to_put(source)
        if onward is not None and targets:
            edges.append((new, "default", targets[onward % len(targets)]))
        return Change((new,), tuple(edges))

    def before_which_to_put(self, source: str) -> list[str]:
        model = self.pair.model
        decided = {*model.ends, *model.frozen, *model.flow.skips, *model.plan.loop}
        return [
            name
            for name in model.document.names
            if name[0] != "s" and name not in decided and not leads_to(model.document, name, source)
        ]

    @rule(pick=PICKS)
    def somebody_deletes_a_node(self, pick: int) -> None:
        names = [name for name in self.pair.model.document.names if name[0] != "s"]
        if names:
            self.pair.mutate(Change(no_names=frozenset({names[pick % len(names)]})))

    @rule(pick=PICKS)
    def somebody_deletes_an_edge(self, pick: int) -> None:
        edges = self.pair.model.document.edges
        if edges:
            self.pair.mutate(Change(no_edges=frozenset({edges[pick % len(edges)]})))

    @rule(pick=PICKS, limit=st.integers(1, 4))
    def somebody_changes_a_limit(self, pick: int, limit: int) -> None:
        names = [name for name in self.pair.model.document.names if name[0] != "s"]
        if names:
            self.pair.mutate(Change(limits={names[pick % len(names)]: limit}))

    # --- forks and checkpoints ------------------------------------------------------------------

    @rule(
        pick=st.integers(0, 30),
        is_paused=st.booleans(),
        node=st.one_of(st.none(), PICKS),
        choice=st.booleans(),
    )
    def somebody_forks(self, pick: int, is_paused: bool, node: int | None, choice: bool) -> None:
        output: tuple[str, Any, str] | None = None
        if node is not None:
            name = self.name(node)
            is_choice = name[0] == "c"
            port = ("condtrue" if choice else "condfalse") if is_choice else "default"
            output = (name, choice if is_choice else "given", port)
        self.pair.fork(pick, is_paused=is_paused, output=output)
        self.gone = []

    @rule(pick=st.integers(0, 30), is_paused=st.booleans(), node=PICKS, limit=st.integers(0, 4))
    def somebody_forks_with_another_graph(
        self, pick: int, is_paused: bool, node: int, limit: int
    ) -> None:
        """With another node behind one that there was, without one, or with another limit."""
        names = self.pair.graph_at(pick).names
        name = names[node % len(names)]
        change = Change(("n1",), ((name, ports(name)[0], "n1"),))
        if "n1" in names:
            change = Change(no_names=frozenset({"n1"}))
        elif limit and name[0] != "s":
            change = Change(limits={name: limit})
        self.pair.fork(pick, is_paused=is_paused, output=None, change=change)
        self.gone = []

    @rule()
    def somebody_saves_a_checkpoint(self) -> None:
        self.pair.save()

    @rule(pick=PICKS)
    def somebody_deletes_a_checkpoint(self, pick: int) -> None:
        self.pair.forget(pick)


def ports(name: str) -> tuple[str, ...]:
    """By which a node may be left."""
    found = {"c": ("condtrue", "condfalse"), "g": ("default", "approved", "rejected")}
    return found.get(name[0], ("default",))


def hold(examples: int) -> None:
    """Try so many stories."""
    run_state_machine_as_test(
        TimedMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_run_over_time_does_what_the_reference_does() -> None:
    hold(EXAMPLES)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_two_thousand_runs_over_time_do_what_the_reference_does() -> None:
    hold(EXAMPLES_MANY)
