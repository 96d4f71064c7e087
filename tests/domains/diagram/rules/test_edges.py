"""Conditions of edges and of condition nodes."""

from typing import Any

WHEN = {"kind": "when", "condition": "x > 1"}


def check(text: str) -> str | None:
    return None if "(" not in text else "it has a bracket."


def test_a_when_edge_says_when(judge: Any) -> None:
    for condition in (None, "", "  "):
        fields = {"s>e": {"kind": "when", "condition": condition}}
        [problem] = judge("s>e", "EDGE_CONDITION_MISSING", fields=fields)
        assert (problem.is_error, problem.edge) == (True, "0:s>e")
    assert judge("s>e", "EDGE_CONDITION_MISSING", fields={"s>e": WHEN}) == []


def test_a_condition_nobody_looks_at_is_a_warning(judge: Any) -> None:
    fields = {"s>e": {"kind": "default", "condition": "x"}}
    [problem] = judge("s>e", "EDGE_CONDITION_UNUSED", fields=fields)
    assert (problem.is_error, problem.edge) == (False, "0:s>e")


def test_a_condition_that_cannot_be_read_is_an_error(judge: Any) -> None:
    fields = {"s>e": {"kind": "when", "condition": "x("}}
    assert judge("s>e", "INVALID_EXPRESSION", fields=fields) == []
    judge.check = check
    [problem] = judge("s>e", "INVALID_EXPRESSION", fields=fields)
    assert problem.is_error
    assert problem.message == "The condition of s → e: it has a bracket."
    assert judge("s>e", "INVALID_EXPRESSION", fields={"s>e": WHEN}) == []


def test_an_expression_of_a_condition_node_is_only_warned_of(judge: Any) -> None:
    judge.check = check
    edges = "s>c c.t>e c.f>e2"
    bad = {"condition_type": "custom", "expression": "x("}
    [problem] = judge(edges, "INVALID_EXPRESSION", c=bad)
    assert (problem.is_error, problem.node) == (False, "c")
    other = {"condition_type": "llm_decision", "expression": "x("}
    assert judge(edges, "INVALID_EXPRESSION", c=other) == []
    good = {"condition_type": "custom", "expression": "x"}
    assert judge(edges, "INVALID_EXPRESSION", c=good) == []


def test_a_port_with_conditional_edges_only_is_a_warning(judge: Any) -> None:
    fields = {"s>a": WHEN, "s>b": WHEN}
    [problem] = judge("s>a s>b a>e", "NO_DEFAULT_EDGE", fields=fields)
    assert (problem.is_error, problem.node) == (False, "s")
    for kind in ("default", "always"):
        way_out = {**fields, "s>b": {"kind": kind}}
        assert judge("s>a s>b a>e", "NO_DEFAULT_EDGE", fields=way_out) == []
    fallback = {**fields, "s>b": {"kind": "fallback"}}
    assert len(judge("s>a s>b a>e", "NO_DEFAULT_EDGE", fields=fallback)) == 1
