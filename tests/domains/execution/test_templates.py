"""Text templates: what is filled in, what stays as written, and what is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.templates import (
    ITERATIONS_MAX,
    Rendered,
    TemplateError,
    build_context,
    render,
    render_path,
)
from dipeo_server.errors import NodeError

CONTEXT: dict[str, Any] = {
    "topic": "bees",
    "count": 3,
    "ratio": 0.5,
    "yes": True,
    "nothing": None,
    "user": {"name": "Ada", "tags": ["a", "b", "c"], "0": "zero", "length": 2},
    "rows": [{"cells": [1, 2], "name": "r1"}, {"cells": [3], "name": "r2"}],
    "index": 1,
    "key": "name",
    "empty": [],
    "Node A": {"result": "from a label"},
    "a.b": "dotted",
    "é": "ü",
    "evil": "{{topic}} {{#if yes}}x{{/if}}",
}


@pytest.mark.parametrize(
    "template, text",
    [
        ("", ""),
        ("no tags { } {x} } }} {{ {", "no tags { } {x} } }} {{ {"),
        ("about {{topic}}!", "about bees!"),
        ("{{ topic }}{{\ntopic\n}}", "beesbees"),
        ("{{count}} {{ratio}} {{yes}} {{nothing}}", "3 0.5 true null"),
        ("{{user.name}} {{user.tags[0]}} {{user.tags[-1]}} {{user.tags.1}}", "Ada a c b"),
        ("{{rows[index].name}}", "r2"),
        ("{{user[key]}} {{user['name']}} {{user[\"name\"]}} {{user[0]}}", "Ada Ada Ada zero"),
        ("{{user.tags[:2]}}", '[\n  "a",\n  "b"\n]'),
        ("{{user.tags[1:2]}}", '[\n  "b"\n]'),
        ("{{user.tags[-1:]}}{{topic[1:3]}}{{topic[0]}}", '[\n  "c"\n]eeb'),
        ("{{user.length}}", "2"),
        ("{{é}} {{Node A.result}} {{a.b}}", "ü from a label dotted"),
        ("{{rows[0]}}", json.dumps(CONTEXT["rows"][0], indent=2)),
        ('{"a": {"b": "{{topic}}"}}', '{"a": {"b": "bees"}}'),
        ("{{{topic}}}", "{bees}"),
        ("{{evil}}", "{{topic}} {{#if yes}}x{{/if}}"),
        ("{{#if yes}}1{{/if}}{{#if nothing}}2{{/if}}", "1"),
        ("{{#if yes}}1{{else}}2{{/if}}{{#if nothing}}1{{else}}2{{/if}}", "12"),
        ("{{#if nothing}}1{{else if yes}}2{{else}}3{{/if}}", "2"),
        ("{{#if nothing}}1{{else if empty}}2{{else}}3{{/if}}!", "3!"),
        ("{{#if nothing}}1{{else if empty}}2{{/if}}!", "!"),
        ("{{#unless nothing}}1{{else}}2{{/unless}}{{#unless yes}}1{{else}}2{{/unless}}", "12"),
        ("{{#if yes}}{{#if topic}}{{topic}}{{/if}}{{/if}}", "bees"),
        ("{{#each user.tags}}{{@index}}{{this}}{{/each}}", "0a1b2c"),
        ("{{#each user.tags}}{{this}}{{#unless @last}}, {{/unless}}{{/each}}", "a, b, c"),
        ("{{#each user.tags}}{{#if @first}}>{{/if}}{{this}}{{/each}}", ">abc"),
        (
            "{{#each rows}}{{this.name}}:{{this.cells[0]}} {{topic}};{{/each}}",
            "r1:1 bees;r2:3 bees;",
        ),
        ("{{#each rows}}{{#each this.cells}}{{../@index}}{{this}} {{/each}}{{/each}}", "01 02 13 "),
        ("{{#each rows}}{{#each this.cells}}{{../this.name}} {{/each}}{{/each}}", "r1 r1 r2 "),
        ("{{#each rows}}{{#each this.cells}}{{../../topic}}{{/each}}{{/each}}", "bees" * 3),
        ("{{#each empty}}x{{else}}none{{/each}}{{#each nothing}}x{{/each}}", "none"),
        ("{{#each user}}{{@key}}={{@index}} {{/each}}", "name=0 tags=1 0=2 length=3 "),
        ("{{#each user.tags[1:]}}{{this}}{{/each}}", "bc"),
        ("{{#each rows}}{{user.tags[@index]}}{{/each}}", "ab"),
        ("{{# if yes }}a{{ else }}b{{ / if }}", "a"),
        ("{{}}{{ }}", "{{}}{{ }}"),
    ],
)
def test_a_template_is_filled_in(template: str, text: str) -> None:
    before = copy.deepcopy(CONTEXT)

    rendered = render(template, CONTEXT)

    assert before == CONTEXT
    assert rendered == Rendered(text, ())
    assert render(template, CONTEXT, strict=True) == rendered


@pytest.mark.parametrize(
    "value, is_true",
    [
        *((None, False), (False, False), (0, False), (0.0, False), ([], False), ({}, False)),
        *(("", False), ("false", False), ("False", False), ("0", False), ("NO", False)),
        *(("None", False), ("x", True), ("off", True), ("falsehood", True), (" ", True)),
        *((True, True), (1, True), (-0.5, True), ([0], True), ({"": 0}, True)),
    ],
)
def test_a_condition_goes_by_the_value(value: object, is_true: bool) -> None:
    template = "{{#if x}}yes{{else}}no{{/if}} {{#unless x}}no{{else}}yes{{/unless}}"

    assert render(template, {"x": value}).text == ("yes yes" if is_true else "no no")


@pytest.mark.parametrize(
    "template, missing",
    [
        ("{{nope}}", ("nope",)),
        ("{{ nope }}{{nope}}{{ topic.x }}", ("nope", "topic.x")),
        ("{{user.nme}}", ("user.nme",)),
        ("{{user.tags[9]}}", ("user.tags[9]",)),
        ("{{user.tags[nope]}}", ("user.tags[nope]",)),
        ("{{user.tags[yes]}}{{user.tags[ratio]}}", ("user.tags[yes]", "user.tags[ratio]")),
        ("{{user[1:2]}}", ("user[1:2]",)),
        ("{{count.x}}{{nothing.x}}{{topic.x}}", ("count.x", "nothing.x", "topic.x")),
        ("{{topic | upper}}", ("topic | upper",)),
        ('{{"a": 1}}', ('"a": 1',)),
        ("{{user.}}{{user[}}{{user[]}}{{.user}}", ("user.", "user[", "user[]", ".user")),
        ("{{! note }}{{> part}}", ("! note", "> part")),
        ("{{this}}{{@index}}{{../topic}}", ("this", "@index", "../topic")),
        ("{{user.__class__}}{{topic.__class__}}", ("user.__class__", "topic.__class__")),
        ("{{user.keys}}{{topic.upper()}}", ("user.keys", "topic.upper()")),
    ],
)
def test_what_is_unknown_stays_as_written_and_is_listed(
    template: str, missing: tuple[str, ...]
) -> None:
    assert render(template, CONTEXT) == Rendered(template, missing)
    with pytest.raises(TemplateError) as refusal:
        render(template, CONTEXT, strict=True)
    assert refusal.value.code == "TEMPLATE_ERROR"
    assert isinstance(refusal.value, NodeError)


def test_unknown_keys_in_loops_are_listed_once_and_conditions_may_name_the_unknown() -> None:
    template = "{{#each rows}}{{this.nme}}{{/each}}{{#if nope}}x{{/if}}"

    assert render(template, CONTEXT) == Rendered("{{this.nme}}{{this.nme}}", ("this.nme",))
    assert render("{{#if nope}}x{{/if}}", CONTEXT, strict=True).text == ""


def test_a_loop_over_something_unknown_renders_its_else_and_is_listed() -> None:
    template = "{{#each nope}}x{{else}}nothing{{/each}}"

    assert render(template, CONTEXT) == Rendered("nothing", ("nope",))
    with pytest.raises(TemplateError, match="Unknown key 'nope'"):
        render(template, CONTEXT, strict=True)


@pytest.mark.parametrize(
    "template, message",
    [
        ("{{topc}}", "Unknown key 'topc'; the nearest known name is 'topic'"),
        ("{{user.nme}}", "unknown key 'nme'; the nearest known name is 'name'"),
        ("{{user.tags[7]}}", "list has no 7"),
        ("{{'x'}}", "is not the path of a value"),
    ],
)
def test_strict_rendering_names_the_nearest_key(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        render(template, CONTEXT, strict=True)


@pytest.mark.parametrize(
    "template, message",
    [
        ("a\nb {{#if x}}", "{{#if x}} (line 2, column 3) is not closed"),
        ("{{#if x}}{{else if y}}", "{{#if y}} (line 1, column 10) is not closed"),
        ("{{a}}\n\n {{/if}}", "{{/if}} (line 3, column 2) closes no block"),
        ("{{#if x}}{{/each}}", "{{/each}} (line 1, column 10) stands where {{/if}} is due"),
        ("{{#if x}}\n{{#each y}}{{/if}}{{/each}}", "(line 2, column 12)"),
        ("{{else}}", "{{else}} (line 1, column 1) belongs to no block"),
        ("{{#if x}}{{else}}{{else}}{{/if}}", "belongs to no block"),
        ("{{#with x}}{{/with}}", "Unknown block {{#with}} (line 1, column 1)"),
        ("{{#}}", "Unknown block {{#}}"),
        ("{{#if}}x{{/if}}", "needs the path of a value"),
        ("{{#if x > 3}}x{{/if}}", "{{#if x > 3}} (line 1, column 1) needs the path of a value"),
        ("{{#if x && y}}x{{/if}}", "needs the path of a value"),
        ("{{#if a}}{{else if !b}}x{{/if}}", "needs the path of a value"),
        ("{{#each topic}}{{/each}}", "{{#each topic}} (line 1, column 1) cannot go through string"),
        ("{{#each count}}{{/each}}", "cannot go through integer"),
        ("{{#if yes}}" * 33 + "{{/if}}" * 33, "nested more than 32 deep"),
    ],
)
def test_a_malformed_template_is_refused_with_its_place(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as refusal:
        render(template, CONTEXT)

    assert message in str(refusal.value)


def test_a_rendering_is_bounded_in_size_loops_and_steps() -> None:
    big = {"x": "x" * 700_000, "list": ["y" * 1000] * 2000, "wide": list(range(ITERATIONS_MAX + 1))}

    with pytest.raises(TemplateError, match="renders more than 1048576 bytes"):
        render("{{x}}{{x}}", big)
    with pytest.raises(TemplateError, match="renders more than 1048576 bytes"):
        render("{{list}}", big)
    with pytest.raises(TemplateError, match="renders more than 10 bytes"):
        render("ä" * 6, {}, size_max=10)
    with pytest.raises(TemplateError, match="go round more than"):
        render("{{#each wide}}{{/each}}", big)
    with pytest.raises(TemplateError, match="go round more than"):
        render("{{#each list}}" * 3 + "{{/each}}" * 3, big)
    with pytest.raises(TemplateError, match=r"more than .* steps"):
        render("{{#each list}}" + "{{@index}}" * 60 + "{{/each}}", big)
    with pytest.raises(TemplateError, match=r"more than .* characters"):
        render("x" * 1_048_577, {}, size_max=10_000_000)


def test_long_and_odd_templates_are_read_in_one_pass() -> None:
    for template in (
        "{{a[" + " " * 200_000 + "}}",
        "{" * 300_000,
        "{{" * 150_000 + "a" * 300_000,
        "{{" + "../" * 200_000 + "a}}",
        "{{a" + ".b" * 60_000 + "}}",
    ):
        assert render(template, {"a": 1}).text == template
    assert render("{{#if a}}{{/if}}\n" * 20_000, {"a": 1}).text == "\n" * 20_000


def test_only_json_values_are_printed() -> None:
    for value in (object(), {"x": {1, 2}}, [float("nan")], float("inf"), b"x"):
        with pytest.raises(TemplateError, match=r"\{\{x\}\} is not plain JSON"):
            render("{{x}}", {"x": value})


def test_a_value_nested_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(TemplateError):
        render("{{x}}", {"x": endless})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(value=JSON_VALUES)
def test_a_value_is_printed_as_it_is_and_never_read_as_a_template(value: Any) -> None:
    expected = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

    assert render("<{{x}}>", {"x": value, "a": 1}) == Rendered(f"<{expected}>", ())


@given(template=st.text("{}#/if each else unless @x.[]:'\"0 \n", max_size=80), x=JSON_VALUES)
def test_no_template_does_anything_but_render_or_be_refused(template: str, x: Any) -> None:
    try:
        rendered = render(template, {"x": x})
    except TemplateError:
        return
    assert rendered.text is not None


@given(st.text("abc {}\n#", max_size=60))
def test_text_around_tags_is_kept(text: str) -> None:
    if "{{" not in text:
        assert render(text, {}).text == text


# ---------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "template, path",
    [
        ("out/{topic}.json", "out/bees.json"),
        ("out/{{topic}}/{count}.txt", "out/bees/3.txt"),
        ("{user.name}/{user.tags[index]}.md", "Ada/b.md"),
        ("{rows[0].name}-{yes}-{ratio}", "r1-true-0.5"),
        ("plain/*.txt", "plain/*.txt"),
        ("{}{{}}", "{}{{}}"),
        ("{evil}", "{{topic}} {{#if yes}}x{{/if}}"),
    ],
)
def test_a_path_is_filled_in_with_either_kind_of_braces(template: str, path: str) -> None:
    assert render_path(template, CONTEXT) == Rendered(path, ())


def test_an_unknown_part_of_a_path_stays_as_written_and_is_listed() -> None:
    rendered = render_path("{nope}/{{ user.x }}/{topic}", CONTEXT)

    assert rendered == Rendered("{nope}/{{ user.x }}/bees", ("nope", "user.x"))


def test_a_path_cannot_hold_a_list_an_object_or_null() -> None:
    for template in ("{user.tags}", "{{user}}", "{nothing}"):
        with pytest.raises(TemplateError, match="cannot be a part of a path"):
            render_path(template, CONTEXT)


# ------------------------------------------------------------------------------- contexts


def test_a_context_holds_inputs_and_variables_by_name_and_by_place() -> None:
    context = build_context({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"c": 5, "d": 6})

    assert context == {
        "a": 1,
        "b": 3,
        "c": 5,
        "d": 6,
        "inputs": {"a": 1, "b": 2},
        "globals": {"b": 3, "c": 4},
        "local": {"c": 5, "d": 6},
    }
    assert build_context({}, {}) == {"inputs": {}, "globals": {}, "local": {}}


def test_an_object_on_default_or_first_lends_its_keys_to_the_root() -> None:
    context = build_context(
        {"default": {"x": 1, "y": 1, "n": 0}, "first": {"x": 2, "z": 2}, "n": 9}, {"y": 3}
    )

    assert (context["x"], context["y"], context["z"], context["n"]) == (1, 3, 2, 9)
    assert context["default"] == {"x": 1, "y": 1, "n": 0}


def test_a_default_within_default_is_unwrapped() -> None:
    context = build_context({"default": {"default": {"default": {"x": 1}}}}, {})

    assert context["x"] == 1
    assert context["default"] == {"x": 1}
    assert context["inputs"] == {"default": {"x": 1}}
    assert build_context({"default": {"default": "text"}}, {})["default"] == "text"
    assert build_context({"data": {"default": 1}}, {})["data"] == {"default": 1}


def test_a_conversation_adds_its_messages_and_the_last_one() -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    context = build_context({"talk": {"messages": said}}, {})

    assert context["talk_messages"] == said
    assert context["talk_last_message"] == "hello"
    assert "messages" not in context


def test_a_conversation_on_default_adds_them_at_the_root_too() -> None:
    context = build_context({"default": {"messages": ["a", "b"]}}, {})

    for prefix in ("", "default_"):
        assert context[f"{prefix}messages"] == ["a", "b"]
        assert context[f"{prefix}last_message"] == "b"


def test_the_last_message_of_a_conversation_is_its_own_if_it_says_so() -> None:
    for value, last in (
        ({"messages": [], "last_message": "told"}, "told"),
        ({"messages": []}, ""),
        ({"messages": [{"role": "user"}]}, ""),
    ):
        assert build_context({"c": value}, {})["c_last_message"] == last


def test_lists_of_objects_stay_in_the_context() -> None:
    context = build_context({"rows": [{"a": 1}], "default": {"items": [[1]]}}, {})

    assert context["rows"] == [{"a": 1}]
    assert context["items"] == [[1]]
