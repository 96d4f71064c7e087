"""A condition passes its inputs on at one of two ports: by an expression, or by what has run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutablePerson
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.execution.envelope import ContentType, EnvelopeFactory
from dipeo_server.domains.execution.expression import ExpressionError
from dipeo_server.domains.execution.handlers.condition import ConditionProps
from dipeo_server.domains.execution.output import NodeOutput, TokenUsage
from dipeo_server.domains.execution.registry import declared
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.testing.stub_model import StubModel
from tests.domains.execution.handlers.visiting import Place, registration

TRUE, FALSE = "condtrue", "condfalse"


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Check")


async def port(place: Place, inputs: dict[str, Any] | None = None, /, **props: Any) -> str:
    """The port that fires."""
    output = await place.output("condition", inputs, **props)
    [name] = output.value
    return name


# --- passing on


@pytest.mark.parametrize(
    "inputs, passed",
    [
        ({"default": {"a": 1}}, {"a": 1}),
        ({"x": 1, "y": 2}, {"x": 1, "y": 2}),
        ({}, None),
    ],
)
async def test_the_inputs_leave_at_the_chosen_port_only(
    place: Place, inputs: dict[str, Any], passed: Any
) -> None:
    for expression, chosen in (("1 < 2", TRUE), ("1 > 2", FALSE)):
        output = await place.output("condition", inputs, expression=expression)
        assert output.value == {chosen: passed}
        assert output.metadata == {"result": chosen == TRUE, "index": 0}


async def test_a_lone_input_keeps_its_content_type(place: Place) -> None:
    talk = EnvelopeFactory.create("A", {}, content_type=ContentType.CONVERSATION_STATE)
    there = replace(place, envelopes={"default": talk, "other": talk})
    one = await there.output("condition", {"default": {}}, expression="true")
    two = await there.output("condition", {"default": {}, "other": {}}, expression="true")
    assert (one.content_type, two.content_type) == (ContentType.CONVERSATION_STATE, None)


async def test_the_decision_is_a_variable(place: Place) -> None:
    _, context = await place.visit("condition", expression="false")
    assert [dict(delta.puts) for delta in context.deltas] == [{"branch[Check]": False}]


async def test_how_often_it_ran_before_can_be_a_variable(place: Place) -> None:
    there = replace(place, executed={"Check": 2})
    result, context = await there.visit("condition", expression="true", expose_index_as="round")
    assert isinstance(result, NodeOutput)
    assert result.metadata["index"] == 2
    assert {"round": 2} in [dict(delta.puts) for delta in context.deltas]


# --- custom


@pytest.mark.parametrize(
    "expression, inputs",
    [
        ("score >= 70 and len(errors) == 0", {"default": {"score": 71, "errors": []}}),
        ('state["counter"] + 1 > 2', {"state": {"counter": 2}}),
        ("not input_data.get('invalid', [])", {"input_data": {}}),
        ("default.a == -1", {"default": {"a": -1}}),
        ("globals.limit == 3 and limit == 3", {"limit": 4}),
        ("inputs.limit == 4", {"limit": 4}),
    ],
)
async def test_an_expression_sees_inputs_and_variables(
    place: Place, expression: str, inputs: dict[str, Any]
) -> None:
    there = replace(place, variables={"limit": 3})
    assert await port(there, inputs, expression=expression) == TRUE


@pytest.mark.parametrize("expression", ["nobody > 1", "1 / 0", "'11' > 10"])
async def test_an_expression_that_fails_fails_the_node(place: Place, expression: str) -> None:
    with pytest.raises(ExpressionError):
        await port(place, expression=expression)


async def test_older_files_may_take_errors_as_false(place: Place) -> None:
    props = {"expression": "nobody > 1", "errors_as_false": True}
    assert await port(place, **props) == FALSE
    assert await place.observed("condition", **props) == ["EXPRESSION_ERROR"]


@pytest.mark.parametrize(
    "props, reason",
    [
        ({}, "needs an expression"),
        ({"expression": "  "}, "needs an expression"),
        ({"condition_type": "llm_decision"}, "needs judge_by"),
        ({"condition_type": "sometimes"}, "condition_type"),
    ],
)
def test_what_its_type_needs_must_be_there(props: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ConditionProps.model_validate(props)


# --- what has run


@pytest.mark.parametrize(
    "executed, chosen",
    [
        ({"A": 1, "B": 2}, TRUE),
        ({"A": 1, "B": 0}, FALSE),
        ({"A": 1}, FALSE),
        ({}, FALSE),
    ],
)
@pytest.mark.parametrize("condition_type", ["check_nodes_executed", "nodes_executed"])
async def test_all_named_nodes_must_have_run(
    place: Place, condition_type: str, executed: dict[str, int], chosen: str
) -> None:
    there = replace(place, executed=executed)
    props = {"condition_type": condition_type, "node_indices": ["A", "B"]}
    assert await port(there, **props) == chosen


async def test_nodes_can_be_named_by_id_and_naming_none_is_false(base_dir: Path) -> None:
    diagram = drawn(["start", "A", "Check"], ["start A", "A Check"])
    there = Place(base_dir, key="Check", diagram=diagram, executed={"A": 1})
    props = {"condition_type": "check_nodes_executed"}
    assert await port(there, **props, node_indices=["id_A"]) == TRUE
    assert await port(there, **props, node_indices=[]) == FALSE


# --- detect_max_iterations

LIMITS = {"A": 2, "B": 3, "C": 1}


def drawn(keys: list[str], arrows: list[str]) -> ExecutableDiagram:
    """Capital letters are person_jobs with LIMITS, names with Check conditions."""

    def node(key: str) -> DomainNode[Any]:
        type_, props = "start", dict[str, Any]()
        if "Check" in key:
            type_, props = "condition", {"condition_type": "detect_max_iterations"}
        elif key in LIMITS:
            type_, props = "person_job", {"max_iteration": LIMITS[key]}
        return DomainNode(key, f"id_{key}", type_, key, props)

    edges = []
    for number, arrow in enumerate(arrows):
        source, target = arrow.split()
        source, _, handle = source.partition(".")
        edges.append(DomainEdge(f"e{number}", source, target, handle or "default"))
    specs = {type_: entry.spec for type_, entry in declared().items()}
    executable, _ = assemble(DomainDiagram(tuple(map(node, keys)), tuple(edges)), specs)
    return executable


NESTED = drawn(
    ["start", "A", "B", "InnerCheck", "OuterCheck", "C", "LastCheck"],
    [
        "start A",
        "A B",
        "B InnerCheck",
        "InnerCheck.condfalse B",
        "InnerCheck.condtrue OuterCheck",
        "OuterCheck.condfalse A",
        "OuterCheck.condtrue C",
        "C LastCheck",
    ],
)


@pytest.mark.parametrize(
    "key, executed, chosen",
    [
        ("InnerCheck", {"A": 1, "B": 2}, FALSE),
        ("InnerCheck", {"A": 1, "B": 3}, TRUE),
        ("OuterCheck", {"A": 1, "B": 3}, FALSE),
        ("OuterCheck", {"A": 2, "B": 2}, FALSE),
        ("OuterCheck", {"A": 2, "B": 3}, TRUE),
        ("OuterCheck", {"A": 3, "B": 4}, TRUE),
        ("OuterCheck", {"A": 2}, TRUE),
        ("OuterCheck", {}, FALSE),
        ("LastCheck", {"A": 2, "B": 3, "C": 1}, TRUE),
        ("LastCheck", {"A": 2, "B": 2, "C": 1}, FALSE),
    ],
)
async def test_all_person_jobs_of_its_own_loop_that_ran_are_at_their_limit(
    base_dir: Path, key: str, executed: dict[str, int], chosen: str
) -> None:
    """Loops inside of it count too, those around it do not; outside of loops all count."""
    there = Place(base_dir, key=key, diagram=NESTED, executed=executed)
    assert await port(there, condition_type="detect_max_iterations") == chosen


# --- llm_decision


@pytest.fixture
async def stub() -> AsyncIterator[StubModel]:
    async with StubModel(replies=["YES", "No.", "Perhaps"]) as stub:
        yield stub


async def test_a_person_judges(place: Place, stub: StubModel) -> None:
    ann = ExecutablePerson("ann", "Ann", "openai", "m")
    models = ModelServices(base_urls={"": stub.base_url}, keys={})
    there = replace(place, models=models, persons=(ann,))
    props = {"condition_type": "llm_decision", "person": "ann", "judge_by": "Is {{text}} good?"}
    try:
        first = await there.output("condition", {"text": "it"}, **props)
        second = await there.output("condition", {"text": "it"}, **props)
        unclear = await there.observed("condition", {"text": "it"}, **props)
    finally:
        await models.close()
    assert (first.value, second.value) == ({TRUE: "it"}, {FALSE: "it"})
    assert isinstance(first.token_usage, TokenUsage)
    assert unclear == ["LLM_DECISION_UNCLEAR"]
    assert "Is it good?" in stub.requests[0]["messages"][-1]["content"]


def test_its_ports_are_a_choice() -> None:
    spec = registration("condition").spec
    assert (spec.branches, spec.is_pure, spec.ports.outputs) == (True, True, (TRUE, FALSE))
