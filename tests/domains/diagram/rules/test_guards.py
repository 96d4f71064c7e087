"""Guards beside data, and inputs of one name."""

from typing import Any

import pytest

GUARD = "GUARD_BESIDE_DATA"
DUPLICATE = "DUPLICATE_INPUT"


def test_data_does_not_defeat_a_guard(judge: Any) -> None:
    [problem] = judge("s>c c.t>b c.f>x s>k k>b b>e x>e2", GUARD)
    assert (problem.node, problem.is_error) == ("b", False)
    assert "c[condtrue] → b" in problem.message
    assert "k → b" in problem.message


@pytest.mark.parametrize(
    "edges, back, props, fields",
    [
        ("s>c c.t>b c.f>x s>k k>b", "", {"b": {"join": "any"}}, {}),
        ("s>c c.t>b c.f>b", "", {}, {}),
        ("s>h h>c c.f>h c.t>e", "c.f>h", {}, {}),
        ("s>h h>c c.f>h c.t>j s>k k>j", "c.f>h", {}, {}),
        ("s>a s>b a>j b>j", "", {}, {}),
    ],
    ids=["any join", "both branches", "loop header", "data beside the only exit", "plain diamond"],
)
def test_no_warning_without_need(
    judge: Any, edges: str, back: str, props: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert judge(edges, GUARD, back=back, fields=fields, **props) == []


@pytest.mark.parametrize(
    "edges, back, props, fields, node",
    [
        ("s>c c.t>b c.f>x b>d s>d", "", {}, {}, "d"),
        ("s>g g.a>b s>k k>b", "", {}, {}, "b"),
        ("s>a a.x>b s>k k>b", "", {}, {}, "b"),
        ("s>a a>b s>k k>b", "", {}, {"a>b": {"kind": "when", "condition": "x"}}, "b"),
        ("s>a a>b s>k k>b", "", {"a": {"fan_out": "first"}}, {}, "b"),
        ("s>h h>c1 c1.t>o c1.f>c2 c2.f>h c2.t>e s>k k>o", "c2.f>h", {}, {}, "o"),
    ],
    ids=["downstream", "barrier", "error port", "when edge", "first fan-out", "one of two exits"],
)
def test_every_kind_of_guard_counts(
    judge: Any, edges: str, back: str, props: Any, fields: Any, node: str
) -> None:
    problems = judge(edges, GUARD, back=back, fields=fields, **props)
    assert [problem.node for problem in problems] == [node]


def test_a_condition_without_handler_is_a_guard_too(judge: Any) -> None:
    judge.specs = {}
    assert len(judge("s>c c.t>b c.f>x s>k k>b", GUARD)) == 1


def test_two_edges_of_one_name_are_a_warning(judge: Any) -> None:
    [problem] = judge("s>a s>b a>j b>j", DUPLICATE)
    assert (problem.node, problem.edge, problem.is_error) == ("j", "3:b>j", False)
    assert "'default'" in problem.message


def test_labels_and_handles_tell_inputs_apart(judge: Any) -> None:
    labels = {"a>j": {"label": "one"}, "b>j": {"label": "two"}}
    assert judge("s>a s>b a>j b>j", DUPLICATE, fields=labels) == []
    first = {"a>p": {"target_handle": "first"}}
    assert judge("s>a s>b a>p b>p", DUPLICATE, fields=first) == []
    same = {"a>j": {"label": "one"}, "b>j": {"label": "one"}}
    [problem] = judge("s>a s>b a>j b>j", DUPLICATE, fields=same)
    assert "'one'" in problem.message


def test_a_back_edge_is_no_duplicate_of_a_first_turn_edge(judge: Any) -> None:
    assert judge("s>h h>c c.f>h c.t>e", DUPLICATE, back="c.f>h") == []


@pytest.mark.parametrize(
    "edges", ["s>c c.t>j c.f>j", "s>c c.t>x c.f>y x>j y>j", "s>c c.t>x x>x2 x2>j c.f>j"]
)
def test_a_condition_that_decides_between_them_makes_no_duplicates(judge: Any, edges: str) -> None:
    assert judge(edges, DUPLICATE) == []


def test_a_barrier_does_not_decide_between_its_ports(judge: Any) -> None:
    assert len(judge("s>g g.a>j g>j", DUPLICATE)) == 1


def test_nothing_is_said_while_the_loops_are_not_known(judge: Any) -> None:
    assert judge("s>a s>b a>j b>j s>c c.t>j", DUPLICATE, GUARD, back=None) == []
