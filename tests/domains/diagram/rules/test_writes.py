"""Nodes and branches that would write one variable side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.writes import ORDERED_REDUCERS, PAIRS_MAX
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.diagram.validate import validate
from dipeo_server.domains.execution.delta import BUILT_IN
from dipeo_server.node_types import node_types


@pytest.fixture(scope="module")
def specs() -> Mapping[str, NodeSpec]:
    """The types of the server: what they write is theirs to say."""
    return node_types().specs


SAME = {"g1": {"name": "x"}, "g2": {"name": "x"}}


def severities(problems: list[DiagramProblem]) -> list[str]:
    return [problem.severity.value for problem in problems]


def test_two_nodes_side_by_side_that_write_one_variable_are_an_error(judge: Any) -> None:
    [problem] = judge("s>g1 s>g2 g1>e g2>e", "CONFLICT", back=None, **SAME)
    assert problem.is_error
    assert problem.node == "g2"
    assert problem.message == "'g1' and 'g2' run side by side, and both write the variable 'x'."
    assert "reducer without order" in problem.hint


@pytest.mark.parametrize(
    "text, back",
    [
        ("s>g1 g1>g2 g2>e", ""),
        ("s>a s>b a>g1 g1>j b>j j>g2 g2>e", ""),
        ("s>g1", ""),
    ],
)
def test_nodes_one_after_the_other_are_none(judge: Any, text: str, back: str) -> None:
    names = {key: props for key, props in SAME.items() if key in text}
    assert judge(text, "CONFLICT", back=back, **names) == []


def test_variables_of_their_own_are_no_conflict(judge: Any) -> None:
    assert judge("s>g1 s>g2", "CONFLICT", g1={"name": "x"}, g2={"name": "y"}) == []


def test_what_only_may_run_is_a_warning(judge: Any) -> None:
    """A decision stands before one of them, so that both may run, or one."""
    problems = judge("s>g1 s>c c.t>g2 c.f>e", "CONFLICT", c={"expression": "x"}, **SAME)
    assert severities(problems) == ["WARNING"]
    assert "may run side by side" in problems[0].message


def test_what_a_condition_decides_between_is_no_conflict(judge: Any) -> None:
    text = "s>c c.t>g1 c.f>g2 g1>e g2>e"
    assert judge(text, "CONFLICT", c={"expression": "x"}, **SAME) == []


def test_a_way_that_only_leads_back_gives_no_order(judge: Any) -> None:
    """In one turn of a loop the two run side by side."""
    text = "s>h h>g1 h>g2 g1>j g2>c c.t>h c.f>e"
    problems = judge(text, "CONFLICT", back="c.t>h", c={"expression": "x"}, **SAME)
    assert severities(problems) == ["WARNING"]


def test_before_loops_are_known_only_what_is_certain_is_told(judge: Any) -> None:
    text = "s>g1 s>c c.t>g2 c.f>e"
    assert judge(text, "CONFLICT", back=None, c={"expression": "x"}, **SAME) == []


@pytest.mark.parametrize(
    "reducer, is_conflict", [("add", False), ("my_own", False), ("append", True), (None, True)]
)
def test_a_reducer_without_order_makes_it_none(
    judge: Any, reducer: str | None, is_conflict: bool
) -> None:
    diagram = judge.diagram("s>g1 s>g2", **SAME)
    diagram = replace(diagram, metadata={"reducers": {"x": reducer}} if reducer else {})
    found = validate(diagram, judge.specs)
    assert any(problem.code == "CONFLICT" for problem in found) is is_conflict


def test_the_reducers_with_an_order_are_those_that_do_not_commute() -> None:
    assert {each.name for each in BUILT_IN if not each.is_commutative} == ORDERED_REDUCERS


def test_an_index_that_two_conditions_expose_is_written_by_both(judge: Any) -> None:
    props = {"expression": "x", "expose_index_as": "i"}
    [problem] = judge("s>c1 s>c2", "CONFLICT", c1=props, c2=props)
    assert problem.is_error


# --- branches of a group


def group(*names: str, **more: Mapping[str, Any]) -> dict[str, Any]:
    """A node with a branch each that asks a person, whose decision is this variable."""
    branches: dict[str, Any] = {}
    for number, name in enumerate(names):
        gate = {"label": "g", "type": "barrier", "props": {"name": name}}
        nodes = [{"label": "s", "type": "start"}, gate]
        document = {"nodes": nodes, "connections": [{"from": "s", "to": "g"}]}
        branches[f"b{number}"] = {"diagram_data": document, **more}
    return {"type": "parallel", "branches": branches}


def test_branches_that_write_one_variable_are_a_warning(judge: Any) -> None:
    [problem] = judge("s>p", "CONFLICT", p=group("x", "x"))
    assert not problem.is_error
    assert problem.message == "Branches 'b0' and 'b1' of 'p' may both write the variable 'x'."
    assert judge("s>p", "CONFLICT", p=group("x", "y")) == []


def test_what_a_branch_was_given_is_its_own(judge: Any) -> None:
    assert judge("s>p", "CONFLICT", p=group("x", "x", input_mapping={"x": "default"})) == []


def test_a_group_writes_what_its_branches_write(judge: Any) -> None:
    problems = judge("s>p s>g1", "CONFLICT", p=group("x"), g1={"name": "x"})
    assert severities(problems) == ["ERROR"]


@pytest.mark.parametrize("document", ["nodes: [", {"nodes": 7}, {"a": 1}, "7"])
def test_a_branch_that_cannot_be_read_writes_nothing(judge: Any, document: Any) -> None:
    branches = {name: {"diagram_data": document} for name in "ab"}
    assert judge("s>p", "CONFLICT", p={"type": "parallel", "branches": branches}) == []


def test_of_many_writers_the_first_are_compared(judge: Any) -> None:
    names = [f"g{number}" for number in range(300)]
    text = " ".join(f"s>{name}" for name in names)
    found = judge(text, "CONFLICT", **{name: {"name": "x"} for name in names})
    assert len(found) == PAIRS_MAX
