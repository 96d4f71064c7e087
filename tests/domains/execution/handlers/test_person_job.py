"""person_job with real model services: the local echo, and a stub server over loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from dipeo_server.domains.diagram.executable import (
    AfterCrash,
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
    ExecutablePerson,
)
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.context import ExecutionContext, Services, Visit
from dipeo_server.domains.execution.envelope import ContentType
from dipeo_server.domains.execution.handlers.person_job import PersonJobProps, person_job
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.llm_decision import decide
from dipeo_server.domains.execution.output import Message, NodeOutput, TokenUsage
from dipeo_server.domains.execution.person.asking import PersonMissing
from dipeo_server.domains.execution.person.judgement import judge
from dipeo_server.domains.execution.person.python_types import TextFormatError
from dipeo_server.domains.execution.registry import declared
from dipeo_server.domains.execution.templates import TemplateError
from dipeo_server.errors import FileMissing, ModelError, ModelNotConfigured, PathDenied
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.testing.stub_model import StubModel

ANN = ExecutablePerson("ann", "Ann", "echo", "echo-1", system_prompt="You are Ann.")
BOB = ExecutablePerson("person_2", "Bob", "echo", "echo-1")
TALK = (
    Message("Ask#1.0", "system", "ann", "first question"),
    Message("Ask#1.1", "ann", "system", "first answer"),
    Message("Other#1.0", "system", "person_2", "for Bob"),
    Message("Other#1.1", "person_2", "system", "from Bob"),
)
MODELS = "class Response(BaseModel):\n    city: str\n    size: int = Field(ge=3)\n"


class Absent:
    """A port that nothing here may touch."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


@dataclass
class World:
    """One person_job in a diagram, ready to be run."""

    files: BaseDirFiles
    models: ModelServices
    persons: tuple[ExecutablePerson, ...] = (ANN, BOB)
    path: str | None = "projects/demo/talk.light.yaml"
    conversation: tuple[Message, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    runs_before: int = 0
    edge_content_type: str | None = None
    logged: list[tuple[str, str]] = field(default_factory=list)

    def log(self, stream: str, text: str, *, level: str = "INFO") -> None:
        assert level == "INFO"
        self.logged.append((stream, text))

    def context(self, inputs: Mapping[str, Any]) -> ExecutionContext:
        node = ExecutableNode(0, "Ask", "node_0", "person_job", "Ask", {}, outgoing=(0,))
        end = ExecutableNode(1, "End", "node_1", "endpoint", "End", {}, incoming=(0,))
        edge = ExecutableEdge(
            0, "a", 0, "default", 1, "default", "default", content_type=self.edge_content_type
        )
        diagram = ExecutableDiagram(
            (node, end), (edge,), (), "hash", path=self.path, persons=self.persons
        )
        absent = cast("Any", Absent())
        visit = Visit(
            node_run=NodeRun("Ask", self.runs_before + 1),
            node=node,
            inputs=inputs,
            input_envelopes={},
            services=Services(absent, self.files, absent, self.models, absent),
            state_store=absent,
            log=self.log,
            executed={"Ask": self.runs_before},
            conversation=self.conversation,
        )
        return ExecutionContext(diagram, "exec_0_x", variables=self.variables, visit=visit)

    async def run(
        self, inputs: Mapping[str, Any] | None = None, /, **props: Any
    ) -> tuple[NodeOutput, ExecutionContext]:
        context = self.context(inputs or {})
        checked = PersonJobProps.model_validate({"person": "ann", **props})
        node = DomainNode("Ask", "node_0", "person_job", "Ask", checked)
        output = await person_job(node, context)
        assert isinstance(output, NodeOutput)
        return output, context

    async def answer(self, inputs: Mapping[str, Any] | None = None, /, **props: Any) -> Any:
        return (await self.run(inputs, **props))[0].value["default"]


@pytest.fixture
async def echo(base_dir: Path) -> AsyncIterator[World]:
    models = ModelServices(base_urls={}, keys={})
    yield World(BaseDirFiles(base_dir), models)
    await models.close()


@pytest.fixture
def via_stub(echo: World, base_dir: Path) -> Any:
    """Points the world's persons to a stub server."""

    def point(stub: StubModel) -> World:
        models = ModelServices(base_urls={"": stub.base_url}, keys={})
        persons = tuple(replace(person, service="openai") for person in (ANN, BOB))
        return replace(echo, models=models, persons=persons)

    return point


def sent(stub: StubModel, number: int = 0) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in stub.requests[number]["messages"]]


def write(base_dir: Path, name: str, text: str) -> None:
    path = base_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def observed(context: ExecutionContext) -> list[str]:
    return [failure.code for failure in context.observed]


# --- prompts


async def test_the_answer_is_the_output_and_usage_is_counted(echo: World) -> None:
    output, _ = await echo.run({"topic": "trees"}, default_prompt="Tell me of {{topic}}")
    assert output.value == {"default": "Tell me of trees"}
    assert output.token_usage == TokenUsage(7, 4)
    assert output.metadata["model"] == "echo-1"
    assert output.metadata["person_id"] == "ann"
    assert output.metadata["llm_usage"] == {"input": 7, "output": 4, "cached": 0, "total": 11}
    assert output.metadata["preview"] == "Tell me of trees"


async def test_a_person_is_found_by_label_too(echo: World) -> None:
    output, _ = await echo.run(person="Bob", default_prompt="hi")
    assert output.metadata["person_id"] == "person_2"


@pytest.mark.parametrize("person", [None, "", "Nobody"])
async def test_without_a_person_it_fails(echo: World, person: str | None) -> None:
    with pytest.raises(PersonMissing) as failure:
        await echo.run(person=person, default_prompt="hi")
    assert failure.value.code == "PERSON_MISSING"


async def test_the_first_run_has_a_prompt_of_its_own(echo: World) -> None:
    prompts = {"first_only_prompt": "one", "default_prompt": "many"}
    assert await echo.answer(**prompts) == "one"
    assert await replace(echo, runs_before=1).answer(**prompts) == "many"
    assert await echo.answer(default_prompt="many") == "many"


async def test_without_a_prompt_nobody_is_asked_and_that_is_told(via_stub: Any) -> None:
    async with StubModel() as stub:
        world = replace(via_stub(stub), runs_before=1)
        output, context = await world.run(first_only_prompt="only once")
        await world.models.close()
    assert output.value == {"default": ""}
    assert observed(context) == ["PROMPT_EMPTY"]
    assert stub.requests == []


async def test_variables_win_over_inputs(echo: World) -> None:
    world = replace(echo, variables={"topic": "stones"})
    assert await world.answer({"topic": "trees"}, default_prompt="{{topic}}") == "stones"


async def test_a_missing_template_key_stays_and_is_observed(echo: World) -> None:
    output, context = await echo.run(default_prompt="Tell {{me}}")
    assert output.value["default"] == "Tell {{me}}"
    assert observed(context) == ["TEMPLATE_KEY_MISSING"]


async def test_a_missing_template_key_fails_where_the_node_is_strict(echo: World) -> None:
    with pytest.raises(TemplateError):
        await echo.run(default_prompt="Tell {{me}}", strict=True)


@pytest.mark.parametrize(
    "name, place",
    [
        ("projects/x/p.txt", "projects/x/p.txt"),
        ("files/p.txt", "files/p.txt"),
        ("p.txt", "projects/demo/p.txt"),
        ("p.txt", "projects/demo/prompts/p.txt"),
        ("p.txt", "files/prompts/p.txt"),
        ("deep/p.txt", "files/prompts/deep/p.txt"),
        ("texts/p.txt", "texts/p.txt"),
    ],
)
async def test_a_prompt_file_is_found_in_each_of_its_places(
    echo: World, base_dir: Path, name: str, place: str
) -> None:
    write(base_dir, place, "from a file: {{x}}")
    answer = await echo.answer({"x": 1}, prompt_file=name, default_prompt="inline")
    assert answer == "from a file: 1"


async def test_the_place_nearest_to_the_diagram_wins(echo: World, base_dir: Path) -> None:
    for place in ("p.txt", "files/prompts/p.txt", "projects/demo/prompts/p.txt"):
        write(base_dir, place, place)
    assert await echo.answer(prompt_file="p.txt") == "projects/demo/prompts/p.txt"
    write(base_dir, "projects/demo/p.txt", "beside it")
    assert await echo.answer(first_prompt_file="p.txt") == "beside it"


async def test_a_missing_prompt_file_names_every_place_tried(echo: World) -> None:
    with pytest.raises(FileMissing) as failure:
        await echo.run(prompt_file="p.txt", default_prompt="inline")
    for place in ("projects/demo/p.txt", "projects/demo/prompts/p.txt", "files/prompts/p.txt"):
        assert place in failure.value.message


async def test_a_prompt_file_may_not_leave_the_base_directory(echo: World) -> None:
    with pytest.raises(PathDenied):
        await echo.run(prompt_file="../../../secret.txt")


async def test_a_persons_prompt_file_beats_its_text(via_stub: Any, base_dir: Path) -> None:
    write(base_dir, "files/prompts/role.txt", "You are somebody else.")
    async with StubModel() as stub:
        world = via_stub(stub)
        world.persons = (replace(world.persons[0], prompt_file="role.txt"),)
        await world.run(default_prompt="hi")
        await world.models.close()
    assert sent(stub)[0] == ("system", "You are somebody else.")


async def test_settings_reach_the_model_only_where_they_are_made(via_stub: Any) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        await world.run(default_prompt="hi")
        await world.run(default_prompt="hi", temperature=0.3, max_tokens=9)
        await world.models.close()
    assert {"temperature", "max_tokens"}.isdisjoint(stub.requests[0])
    assert (stub.requests[1]["temperature"], stub.requests[1]["max_tokens"]) == (0.3, 9)


async def test_tokens_are_logged_as_they_come(echo: World) -> None:
    await echo.run(default_prompt="one two")
    assert "".join(text for _, text in echo.logged) == "one two"
    assert {stream for stream, _ in echo.logged} == {"tokens"}


async def test_wanted_tools_are_told_to_be_unavailable(echo: World) -> None:
    for none in (None, "none", [], [{"type": "image", "enabled": False}]):
        assert observed((await echo.run(default_prompt="hi", tools=none))[1]) == []
    for some in ("image", [{"type": "websearch", "enabled": True}]):
        assert observed((await echo.run(default_prompt="hi", tools=some))[1]) == [
            "TOOLS_UNAVAILABLE"
        ]


# --- conversation and memory


async def test_prompt_and_answer_join_the_conversation(echo: World) -> None:
    output, _ = await replace(echo, runs_before=2).run(default_prompt="hi")
    assert output.messages == (
        Message("Ask#3.0", "system", "ann", "hi"),
        Message("Ask#3.1", "ann", "system", "hi"),
    )


async def test_the_model_hears_system_prompt_memory_and_prompt(via_stub: Any) -> None:
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK)
        await world.run(default_prompt="next question")
        await world.models.close()
    assert sent(stub) == [
        ("system", "You are Ann."),
        ("user", "first question"),
        ("assistant", "first answer"),
        ("user", "for Bob"),
        ("user", "from Bob"),
        ("user", "next question"),
    ]


@pytest.mark.parametrize(
    "wish, contents",
    [
        ({"memorize_to": "goldfish"}, []),
        ({"memorize_to": "SENT_BY_ME"}, ["first answer"]),
        ({"memorize_to": "SYSTEM_AND_ME"}, ["first question", "first answer"]),
        ({"at_most": 1}, ["from Bob"]),
        ({"ignore_person": "Bob, nobody"}, ["first question", "first answer", "for Bob"]),
        ({"memorize_to": "SENT_TO_ME", "at_most": 5}, ["first question"]),
    ],
)
async def test_memory_follows_its_rule_without_asking_a_model(
    via_stub: Any, wish: Mapping[str, Any], contents: list[str]
) -> None:
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, _ = await world.run(default_prompt="now", **wish)
        await world.models.close()
    assert len(stub.requests) == 1
    assert [content for _, content in sent(stub)[1:-1]] == contents
    assert output.metadata["memory_selection"] == {
        "selected": len(contents),
        "total": 4,
        "criteria": wish.get("memorize_to"),
        "at_most": wish.get("at_most"),
    }


async def test_memory_in_plain_words_is_chosen_by_the_persons_model(via_stub: Any) -> None:
    async with StubModel(replies=['Here: ["Other#1.1", "Ask#1.0"]', "the answer"]) as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, context = await world.run(default_prompt="now", memorize_to="what matters")
        await world.models.close()
    assert "what matters" in sent(stub, 0)[0][1]
    assert [content for _, content in sent(stub, 1)] == [
        "You are Ann.",
        "first question",
        "from Bob",
        "now",
    ]
    assert output.value["default"] == "the answer"
    assert observed(context) == []
    used = [len(" ".join(m["content"] for m in r["messages"]).split()) for r in stub.requests]
    assert output.token_usage is not None
    assert output.token_usage.input == sum(used)


async def test_an_unusable_choice_keeps_everything_and_is_told(via_stub: Any) -> None:
    async with StubModel(replies=["I remember it all!", "the answer"]) as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, context = await world.run(default_prompt="now", memorize_to="remember all")
        await world.models.close()
    assert observed(context) == ["MEMORY_SELECTION_UNUSABLE"]
    assert output.metadata["memory_selection"]["selected"] == 4


async def test_nothing_to_remember_needs_no_choice(via_stub: Any) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        await world.run(default_prompt="now", memorize_to="what matters")
        await world.models.close()
    assert len(stub.requests) == 1


def state(*messages: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages), "last_message": messages[-1]["content"]}


async def test_known_messages_of_an_input_are_not_said_twice(via_stub: Any) -> None:
    known = [
        {"id": m.id, "sender": m.sender, "recipient": m.recipient, "content": m.content}
        for m in TALK
    ]
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK)
        output, _ = await world.run({"default": state(*known)}, default_prompt="now")
        await world.models.close()
    assert len(sent(stub)) == 6
    assert [message.id for message in output.messages] == ["Ask#1.0", "Ask#1.1"]


async def test_unknown_messages_of_an_input_join_the_conversation(via_stub: Any) -> None:
    told = state(
        {"role": "assistant", "content": "from elsewhere"},
        {"role": "assistant", "content": "first answer"},
        {"id": "x7", "from_person_id": "carl", "to_person_id": "ann", "content": "I am Carl"},
        {"content": None},
    )
    async with StubModel() as stub:
        world = replace(via_stub(stub), conversation=TALK[:2])
        output, _ = await world.run({"default": told, "n": 1}, default_prompt="now")
        await world.models.close()
    assert [content for _, content in sent(stub)[3:]] == ["from elsewhere", "I am Carl", "now"]
    assert output.messages[:2] == (
        Message("Ask#1.0", "system", "ann", "from elsewhere"),
        Message("x7", "carl", "ann", "I am Carl"),
    )
    assert [message.id for message in output.messages[2:]] == ["Ask#1.2", "Ask#1.3"]


async def test_an_edge_that_carries_a_conversation_gets_one(echo: World) -> None:
    world = replace(echo, edge_content_type="conversation_state", conversation=TALK)
    output, _ = await world.run(default_prompt="now", memorize_to="SENT_BY_ME")
    body = output.value["default"]
    assert output.content_type is ContentType.CONVERSATION_STATE
    assert body["last_message"] == "now"
    assert (body["person_id"], body["model"]) == ("ann", "echo-1")
    assert [m["content"] for m in body["messages"]] == ["first answer", "now", "now"]
    assert [m["role"] for m in body["messages"]] == ["assistant", "user", "assistant"]
    json.dumps(body)


# --- structured answers


async def test_a_text_format_gives_an_object(via_stub: Any) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        output, _ = await world.run(default_prompt="Where?", text_format=MODELS)
        await world.models.close()
    assert output.value == {"default": {"city": "", "size": 3}}
    assert output.messages[-1].content == '{"city": "", "size": 3}'
    schema = stub.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["city", "size"]


async def test_a_text_format_file_beats_the_inline_one(echo: World, base_dir: Path) -> None:
    write(base_dir, "projects/demo/models.py", MODELS)
    answer = await echo.answer(
        default_prompt="Where?",
        text_format={"type": "string"},
        text_format_file="projects/demo/models.py",
    )
    assert answer == {"city": "", "size": 3}


@pytest.mark.parametrize("reply", ["no json", '{"city": "Rome"}', '{"city": "Rome", "size": 1}'])
async def test_an_answer_of_another_form_may_be_retried(via_stub: Any, reply: str) -> None:
    async with StubModel(replies=[reply]) as stub:
        world = via_stub(stub)
        with pytest.raises(ModelError) as failure:
            await world.run(default_prompt="Where?", text_format=MODELS)
        await world.models.close()
    assert failure.value.retryable


async def test_an_unusable_text_format_fails_before_anybody_is_asked(via_stub: Any) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        with pytest.raises(TextFormatError) as failure:
            await world.run(
                default_prompt="Where?", text_format="class Response(BaseModel):\n x: y"
            )
        await world.models.close()
    assert "line 2" in failure.value.message
    assert stub.requests == []


# --- batches


async def test_a_batch_asks_once_for_each_item(echo: World) -> None:
    output, _ = await echo.run(
        {"items": [{"name": "a"}, {"name": "b"}], "greeting": "Hello"},
        default_prompt="{{greeting}} {{name}} {{_batch_index}}/{{_batch_total}}",
        batch=True,
    )
    body = output.value["default"]
    assert (body["total_items"], body["successful"], body["failed"]) == (2, 2, 0)
    assert [r["output"] for r in body["results"]] == ["Hello a 0/2", "Hello b 1/2"]
    assert [r["index"] for r in body["results"]] == [0, 1]
    assert body["errors"] == []
    assert [message.id for message in output.messages] == [f"Ask#1.{n}" for n in range(4)]
    assert output.token_usage == TokenUsage(12, 6)


@pytest.mark.parametrize(
    "inputs, outputs",
    [
        ({"default": {"items": ["a", "b"]}}, ["a", "b"]),
        ({"items": "lone"}, ["lone"]),
        ({"other": 1}, []),
    ],
)
async def test_the_items_of_a_batch_are_found(
    echo: World, inputs: dict[str, Any], outputs: list[str]
) -> None:
    body = await echo.answer(inputs, default_prompt="{{default}}", batch=True)
    assert [result["output"] for result in body["results"]] == outputs


async def test_a_failed_item_is_listed_and_the_others_are_kept(via_stub: Any) -> None:
    async with StubModel(faults={2: "http_400"}) as stub:
        world = via_stub(stub)
        output, context = await world.run(
            {"cities": ["Rome", "Oslo", "Bern"]},
            default_prompt="{{default}}",
            batch=True,
            batchInputKey="cities",
            batch_parallel=False,
        )
        await world.models.close()
    body = output.value["default"]
    assert (body["successful"], body["failed"]) == (2, 1)
    assert [result["index"] for result in body["results"]] == [0, 2]
    [error] = body["errors"]
    assert (error["index"], error["error_type"], error["item"]) == (1, "LLM_ERROR", "Oslo")
    assert observed(context) == ["LLM_ERROR"]


async def test_a_batch_in_which_all_fails_is_a_failure(echo: World) -> None:
    world = replace(echo, persons=(replace(ANN, service="openai"),))
    with pytest.raises(ModelNotConfigured):
        await world.run({"items": [1, 2]}, default_prompt="{{default}}", batch=True)


async def test_items_are_asked_at_once_up_to_the_limit(via_stub: Any) -> None:
    async with StubModel() as stub:
        world = via_stub(stub)
        body = await world.answer(
            {"items": list(range(6))},
            default_prompt="item {{default}}",
            batch=True,
            max_concurrent=3,
        )
        await world.models.close()
    assert [r["output"] for r in body["results"]] == [f"You said: item {n}" for n in range(6)]


# --- props, and the judgement of a condition


@pytest.mark.parametrize(
    "props", [{"max_iteration": 0}, {"at_most": 0}, {"at_most": 501}, {"max_concurrent": 0}]
)
def test_limits_of_props_are_checked(props: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PersonJobProps.model_validate(props)


def test_it_is_run_again_after_a_crash() -> None:
    spec = declared()["person_job"].spec
    assert spec.after_crash is AfterCrash.RERUN
    assert not spec.is_pure
    assert spec.ports.inputs == ("first", "default")


@dataclass(frozen=True)
class Question:
    person: str | None = "ann"
    judge_by: str | None = "Is {{default}} good?"
    judge_by_file: str | None = None
    memorize_to: str | None = "GOLDFISH"
    at_most: int | None = None


@pytest.mark.parametrize(
    "reply, is_true, codes",
    [("YES.", True, []), ("No!", False, []), ("Hm", False, ["LLM_DECISION_UNCLEAR"])],
)
async def test_a_person_judges_a_nodes_input(
    via_stub: Any, reply: str, is_true: bool, codes: list[str]
) -> None:
    async with StubModel(replies=[reply]) as stub:
        world = replace(via_stub(stub), conversation=TALK)
        context = world.context({"default": "the soup"})
        decision, usage = await judge(Question(), context)
        await world.models.close()
    assert (decision, decide(reply)) == (is_true, is_true)
    assert observed(context) == codes
    assert usage is not None
    [system, question] = sent(stub)
    assert system == ("system", "You are Ann.")
    assert question[1].startswith("Is the soup good?")


async def test_a_question_may_come_from_a_file(via_stub: Any, base_dir: Path) -> None:
    write(base_dir, "files/prompts/judge.txt", "Is it ripe?")
    async with StubModel(replies=["yes"]) as stub:
        world = via_stub(stub)
        context = world.context({"default": {"fruit": "plum"}})
        decision, _ = await judge(Question(judge_by_file="judge.txt"), context)
        await world.models.close()
    assert decision
    assert "Is it ripe?" in sent(stub)[1][1]
    assert '"fruit": "plum"' in sent(stub)[1][1]
