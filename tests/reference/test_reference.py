"""The rules of readiness, told by their reference interpreter."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from tests.reference.cases import CASES, Case
from tests.reference.generate import exhaustive, random_failures, random_sketch
from tests.reference.interpreter import Failures, TooManySteps, every_outcome, run
from tests.reference.loops import LoopForest
from tests.reference.outcome import NodeOutcome, Outcome
from tests.reference.sketch import Join, Sketch

CAP = 6
"""Of the visits of a node: every generated loop ends soon."""


def outcomes(
    text: str,
    answers: dict[str, str] | None = None,
    *,
    joins: dict[str, Join] | None = None,
    limits: dict[str, int] | None = None,
    failures: tuple[tuple[str, int], ...] = (),
) -> list[dict[str, NodeOutcome]]:
    """Run a diagram in every order; each distinct outcome by the names of the nodes."""
    sketch = Sketch.parse(text, joins=joins, limits=limits)
    failing: Failures = frozenset((sketch.names.index(name), nth) for name, nth in failures)
    found = every_outcome(sketch, sketch.script(**(answers or {})), failing)
    return [dict(zip(sketch.names, outcome.nodes, strict=True)) for outcome in found]


def reasons(nodes: dict[str, NodeOutcome]) -> dict[str, str | None]:
    return {name: node.reason for name, node in nodes.items() if node.status == "SKIPPED"}


def loops_of(text: str) -> list[tuple[str, str, str]]:
    """Give header, core and tail of every loop, inner ones first, by the names of the nodes."""
    sketch = Sketch.parse(text)

    def spell(nodes: set[int]) -> str:
        return " ".join(sketch.names[node] for node in sorted(nodes))

    return [
        (sketch.names[loop.header or 0], spell(set(loop.core)), spell(loop.tail))
        for loop in LoopForest(sketch).loops
    ]


# The small diagrams, in every completion order.


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_small_diagram_runs_as_the_rules_say_in_every_order(case: Case) -> None:
    for outcome in every_outcome(case.sketch, case.script):
        nodes = dict(zip(case.sketch.names, outcome.nodes, strict=True))
        assert {name: nodes[name].executed for name in case.executed} == case.executed
        assert {name: n.maxiter for name, n in nodes.items() if n.maxiter} == case.maxiter
        assert reasons(nodes) == case.skipped
        assert outcome.no_progress == case.no_progress
        assert outcome.ended == "OK"
        assert not outcome.failed
        for seen in case.seen:
            value = nodes[seen.writer].outputs[seen.writes - 1]
            assert value in nodes[seen.reader].inputs[seen.reads - 1].values()


def test_no_two_small_diagrams_share_an_id() -> None:
    assert len({case.id for case in CASES}) == len(CASES) == 26


# Properties, on diagrams that nobody chose.


def one_of_every_order(seed: int, *, fail: bool) -> tuple[Sketch, list[Outcome]]:
    rng = random.Random(seed)
    sketch, script = random_sketch(rng, 8, joins_all=True)
    failures = random_failures(rng, sketch) if fail else frozenset()
    return sketch, every_outcome(sketch, script, failures, cap=CAP, max_states=20_000)


@pytest.mark.parametrize("fail", [False, True], ids=["all completes", "some fail"])
def test_where_all_joins_are_all_the_order_changes_nothing(fail: bool) -> None:
    for seed in range(400):
        sketch, distinct = one_of_every_order(seed, fail=fail)
        assert len(distinct) == 1, f"seed {seed}: {sketch}"
        assert distinct[0].ended == "OK", f"seed {seed}: {sketch}"


def test_no_join_and_no_failure_makes_a_run_hang() -> None:
    for seed in range(1_500):
        rng = random.Random(seed)
        sketch, script = random_sketch(rng, 10, joins_all=False)
        outcome = run(sketch, script, rng.choice, random_failures(rng, sketch), cap=CAP)
        assert outcome.ended == "OK", f"seed {seed}: {sketch}"
        assert all(node.status != "PENDING" for node in outcome.nodes), f"seed {seed}: {sketch}"


def test_no_small_diagram_hangs() -> None:
    for sketch, script in islice(exhaustive(2), 0, None, 97):
        assert run(sketch, script, min, cap=CAP).ended == "OK", f"{sketch} {script}"


def test_all_small_diagrams_are_as_many_as_is_said() -> None:
    assert sum(1 for _ in exhaustive(1)) == 103
    assert sum(1 for _ in exhaustive(2)) == 112_424


def test_random_diagrams_have_all_that_can_go_wrong() -> None:
    found: set[str] = set()
    for seed in range(300):
        sketch, _ = random_sketch(random.Random(seed), 8, joins_all=False)
        forest = LoopForest(sketch)
        found |= {str(join) for join in sketch.joins} | set(sketch.kinds)
        found |= {"limit" for limit in sketch.limits if limit}
        found |= {"unreachable"} if len(forest.reachable) < len(sketch.kinds) else set()
        found |= {"tail" for loop in forest.loops if loop.tail}
        found |= {"inner loop" for loop in forest.loops if loop.inner}
    assert found >= {"ALL", "ANY", "FIRST", "2", "3", "start", "plain", "condition", "endpoint"}
    assert found >= {"limit", "unreachable", "tail", "inner loop"}


# Rules 1 and 2: loops.


def test_a_header_is_the_entry_that_a_condition_of_the_loop_leads_to() -> None:
    assert loops_of("s -> a; s -> b; a -> b -> c; c.f -> b; b -> a") == [("b", "a b c", "")]


def test_among_equal_entries_the_nearest_to_a_start_then_the_first_is_header() -> None:
    assert loops_of("s -> x -> b; s -> a; b -> a -> b") == [("a", "b a", "")]
    assert loops_of("s -> b; s -> a; b -> a -> b") == [("b", "b a", "")]


def test_a_condition_outside_the_loop_makes_no_header() -> None:
    assert loops_of("s -> c; c.t -> a; s -> b; a -> b -> a") == [("b", "a b", "")]


def test_a_loop_inside_shows_once_the_outer_back_edges_are_gone() -> None:
    text = "s -> o -> h -> c1; c1.f -> h; c1.t -> c2; c2.f -> o; c2.t -> e"
    assert loops_of(text) == [("h", "h c1", ""), ("o", "o h c1 c2", "")]


def test_a_tail_is_fed_by_ports_that_go_on_in_the_loop_and_by_the_tail_only() -> None:
    assert loops_of("s -> h -> c; c.f -> h; h -> log -> mail") == [("h", "h c", "log mail")]
    assert loops_of("s -> h -> c; c.f -> h; h -> e") == [("h", "h c", "")]
    assert loops_of("s -> h -> c; c.f -> h; c.t -> x") == [("h", "h c", "")]
    assert loops_of("s -> h -> c; c.f -> h; h -> j; s -> j") == [("h", "h c", "")]


def test_a_loop_can_be_the_tail_of_another_and_have_a_tail_itself() -> None:
    text = "s -> h -> c; c.f -> h; h -> k -> c2; c2.f -> k; k -> log"
    assert loops_of(text) == [("k", "k c2", "log"), ("h", "h c", "k c2 log")]


def test_what_no_start_reaches_is_dropped_with_its_edges() -> None:
    (nodes,) = outcomes("s -> a -> e; x -> y -> a")
    assert nodes["a"].executed == 1
    assert reasons(nodes) == {"x": "unreachable", "y": "unreachable"}


# Rules 3 and 4: joins and inputs.


def test_all_takes_what_is_live_when_every_token_is_in() -> None:
    (nodes,) = outcomes("s -> c; c.t -> x -> j; c.f -> y -> j", {"c": "T"})
    assert list(nodes["j"].inputs[0].values()) == [nodes["x"].outputs[0]]


def test_any_takes_what_has_arrived_and_first_takes_one_token_alone() -> None:
    text = "s -> a -> m; s -> b -> m; c.t -> m; s -> c"
    sizes = {
        join: {len(nodes["m"].inputs[0]) for nodes in outcomes(text, {"c": "T"}, joins={"m": join})}
        for join in ("ALL", "ANY", "FIRST", 2)
    }
    assert sizes == {"ALL": {3}, "ANY": {1}, "FIRST": {1}, 2: {2}}


def test_tokens_of_one_completion_arrive_together() -> None:
    text = "s -> a; a -> m; a -> m"
    (either,) = outcomes(text, joins={"m": "ANY"})
    assert list(either["m"].inputs[0]) == [1, 2]
    (first,) = outcomes(text, joins={"m": "FIRST"})
    assert list(first["m"].inputs[0]) == [1]


def test_a_value_from_before_the_loop_is_seen_by_all_and_any_but_not_by_first() -> None:
    text = "s -> h; s -> k -> b; h -> b -> c; c.f -> h; c.t -> e"
    for join, edges in {"ALL": [2, 3], "ANY": [2, 3], "FIRST": [3]}.items():
        for nodes in outcomes(text, {"c": "FT"}, joins={"b": join}):
            assert sorted(nodes["b"].inputs[1]) == edges


def test_a_token_too_late_for_any_is_seen_in_the_next_turn() -> None:
    text = "s -> h; s -> k -> b; h -> b -> c; c.f -> h; c.t -> e"
    seen = [
        [sorted(inputs) for inputs in nodes["b"].inputs]
        for nodes in outcomes(text, {"c": "FT"}, joins={"b": "ANY"})
    ]
    assert [[3], [2, 3]] in seen


def test_a_join_with_a_live_token_too_few_is_not_met_and_with_none_is_not_taken() -> None:
    text = "s -> c1; s -> c2; c1.t -> m; c2.t -> m; m -> e"
    (short,) = outcomes(text, {"c1": "T", "c2": "F"}, joins={"m": 2})
    assert reasons(short) == {"m": "join_not_met", "e": "join_not_met"}
    (dead,) = outcomes(text, {"c1": "F", "c2": "F"}, joins={"m": 2})
    assert reasons(dead) == {"m": "branch_not_taken", "e": "branch_not_taken"}


def test_a_node_that_cannot_be_skipped_guards_nothing() -> None:
    text = "s -> c; c.f -> j; s -> m; c.t -> m; m -> j"
    (as_any,) = outcomes(text, {"c": "T"}, joins={"m": "ANY"})[:1]
    assert reasons(as_any) == {"j": "branch_not_taken"}
    (as_all,) = outcomes(text, {"c": "T"})
    assert reasons(as_all) == {}


def test_a_header_can_rely_on_edges_into_its_loop_and_another_node_cannot() -> None:
    header = "s -> c; s -> h; c.t -> h; h -> h; h -> j; c.f -> j"
    for nodes in outcomes(header, {"c": "T"}, joins={"h": "ANY"}, limits={"h": 2}):
        assert reasons(nodes) == {"j": "branch_not_taken"}
    body = "s -> h -> c; c.t -> b; s -> k -> b; b -> m; c.f -> m; m -> c2; c2.f -> h"
    for nodes in outcomes(body, {"c": "T", "c2": "FT"}, joins={"b": "ANY"}):
        assert nodes["m"].executed == 2


def test_a_join_that_falls_short_by_nobodys_choice_guards_nothing() -> None:
    text = "s -> h -> b; s -> k -> b; b -> m; h -> m -> c; c.f -> h"
    (nodes,) = outcomes(text, {"c": "FT"}, joins={"b": 2})
    assert (nodes["b"].executed, nodes["m"].executed) == (1, 2)


def test_a_header_runs_in_later_turns_whatever_its_k() -> None:
    text = "s -> a -> h; s -> b -> h; h -> c; c.f -> h"
    (nodes,) = outcomes(text, {"c": "FFT"}, joins={"h": 2})
    assert nodes["h"].executed == 3


def test_a_first_turn_knows_nothing_of_the_back_edges_of_an_earlier_entry() -> None:
    text = "s -> o -> h -> c1; c1.f -> h; c1.t -> c2; c2.f -> o; c2.t -> e"
    (nodes,) = outcomes(text, {"c1": "FT", "c2": "FT"})
    assert [sorted(inputs) for inputs in nodes["h"].inputs] == [[1], [1, 3], [1]]


# Rules 5 and 6: turns, exits, limits.


def test_an_exit_brings_the_latest_live_token_since_its_outermost_loop_was_entered() -> None:
    text = "s -> o -> h -> c1; c1.f -> h; c1.t -> c2; c2.f -> o; c2.t -> e; h -> e2"
    (nodes,) = outcomes(text, {"c1": "FTFT", "c2": "FT"})
    assert list(nodes["e2"].inputs[0].values()) == [nodes["h"].outputs[3]]


def test_a_node_at_its_limit_puts_out_its_last_output_again() -> None:
    text = "s -> h; h -> a -> j; h -> j -> c; c.f -> h; c.t -> e"
    (nodes,) = outcomes(text, {"c": "FFT"}, limits={"a": 1})
    assert (nodes["a"].executed, nodes["a"].maxiter) == (1, 2)
    assert nodes["a"].status == "MAXITER_REACHED"
    assert [inputs[2] for inputs in nodes["j"].inputs] == [nodes["a"].outputs[0]] * 3


def test_every_loop_ends_at_the_cap() -> None:
    sketch = Sketch.parse("s -> a; a -> a")
    outcome = run(sketch, {}, min)
    assert (outcome.nodes[1].executed, outcome.no_progress) == (100, True)


def test_the_step_cap_stops_a_run_that_is_too_long_for_a_test() -> None:
    with pytest.raises(TooManySteps):
        run(Sketch.parse("s -> a; a -> a"), {}, min, max_steps=50)
    with pytest.raises(TooManySteps):
        every_outcome(Sketch.parse("s -> a; s -> b; s -> x"), {}, max_states=4)


# Failures.


def test_what_follows_a_failure_is_skipped_and_the_rest_runs() -> None:
    (nodes,) = outcomes("s -> a -> b -> e; s -> k -> e2", failures=(("a", 1),))
    assert nodes["a"].status == "FAILED"
    assert nodes["a"].outputs == (None,)
    assert reasons(nodes) == {"b": "upstream_failed", "e": "upstream_failed"}
    assert nodes["e2"].status == "COMPLETED"


def test_a_run_has_failed_even_if_its_node_completed_later() -> None:
    sketch = Sketch.parse("s -> h; h -> m; h -> a -> m; m -> c; c.f -> h", joins={"m": "ANY"})
    a, c = sketch.names.index("a"), sketch.names.index("c")
    outcome = run(sketch, {c: (False, True)}, max, frozenset({(a, 1)}))
    assert (outcome.nodes[a].status, outcome.nodes[a].outputs[0]) == ("COMPLETED", None)
    assert outcome.failed


def test_any_is_satisfied_by_the_edge_that_did_not_fail() -> None:
    text = "s -> a -> m; s -> b -> m; m -> e"
    (nodes,) = outcomes(text, joins={"m": "ANY"}, failures=(("a", 1),))
    assert list(nodes["m"].inputs[0].values()) == [nodes["b"].outputs[0]]
    (none,) = outcomes(text, joins={"m": "ANY"}, failures=(("a", 1), ("b", 1)))
    assert reasons(none) == {"m": "upstream_failed", "e": "upstream_failed"}


def test_a_failure_upstream_is_a_stronger_reason_than_a_branch_not_taken() -> None:
    (nodes,) = outcomes("s -> c; c.t -> j; s -> a -> j", {"c": "F"}, failures=(("a", 1),))
    assert reasons(nodes) == {"j": "upstream_failed"}


def test_an_exit_prefers_a_live_token_to_a_failure_and_a_failure_to_a_dead_one() -> None:
    text = "s -> h -> c; c.f -> h; c.t -> e; s -> k -> j; h -> j"
    (nodes,) = outcomes(text, {"c": "F"}, failures=(("h", 2),))
    assert nodes["h"].outputs[0] in nodes["j"].inputs[0].values()
    assert reasons(nodes) == {"e": "upstream_failed"}


def test_an_exit_remembers_a_failure_over_later_turns() -> None:
    text = "s -> h -> a -> c1; c1.f -> m; h -> m -> c; c.f -> h; c.t -> e; c1.t -> e2"
    for nodes in outcomes(text, {"c": "FT", "c1": "F"}, joins={"m": "ANY"}, failures=(("a", 1),)):
        assert (nodes["c1"].executed, reasons(nodes)) == (1, {"e2": "upstream_failed"})


def test_any_minds_a_failure_before_the_loop_in_the_first_turn_only() -> None:
    text = "s -> h -> c; c.t -> b; s -> k -> b; b -> m; h -> m -> c2; c2.f -> h; c2.t -> e"
    joins: dict[str, Join] = {"b": "ANY", "m": "ANY"}
    for turns, reason in {"T": "upstream_failed", "FT": "branch_not_taken"}.items():
        answers = {"c": "F", "c2": turns}
        for nodes in outcomes(text, answers, joins=joins, failures=(("k", 1),)):
            assert reasons(nodes) == {"b": reason}


def test_a_failure_before_the_loop_skips_a_node_of_it_in_every_turn() -> None:
    text = "s -> h; s -> k -> b; h -> b; b -> m; h -> m -> c; c.f -> h; c.t -> e"
    for nodes in outcomes(text, {"c": "FFT"}, joins={"m": "ANY"}, failures=(("k", 1),)):
        assert reasons(nodes) == {"b": "upstream_failed"}
        assert [nodes[name].executed for name in ("h", "m", "c", "e")] == [3, 3, 3, 1]


def test_a_failure_on_one_back_edge_skips_the_header_although_another_is_live() -> None:
    text = "s -> h; h -> a -> c1; h -> b -> c2; c1.f -> h; c2.f -> h; c1.t -> e; c2.t -> e2"
    (nodes,) = outcomes(text, {"c1": "F", "c2": "F"}, failures=(("a", 1),))
    assert {name: nodes[name].executed for name in ("h", "b", "c2")} == {"h": 1, "b": 1, "c2": 1}
    assert reasons(nodes) == dict.fromkeys(("c1", "e", "e2"), "upstream_failed")


def test_a_node_at_its_limit_repeats_a_failure_too() -> None:
    text = "s -> h; h -> a -> j -> m; h -> m -> c; c.f -> h; c.t -> e"
    for nodes in outcomes(
        text, {"c": "FT"}, joins={"m": "ANY"}, limits={"a": 1}, failures=(("a", 1),)
    ):
        assert (nodes["a"].status, nodes["j"].reason) == ("MAXITER_REACHED", "upstream_failed")


# The notation.


def test_a_sketch_prints_as_it_is_read() -> None:
    text = "s -> h; h -> c; c.f -> h; c.t -> e"
    sketch = Sketch.parse(text, limits={"h": 2}, joins={"h": "ANY"})
    assert str(sketch) == f"{text} joins={{'h': 'ANY'}} limits={{'h': 2}}"
    assert sketch.kinds == ("start", "plain", "condition", "endpoint")


@pytest.mark.parametrize(
    "text", ["a -> s", "s.t -> a", "s -> c -> a"], ids=["into start", "no port", "no default"]
)
def test_a_sketch_that_is_no_diagram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"start|port"):
        Sketch.parse(text)
