"""What a person remembers: the exact rules, and what a model may choose from."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.output import Message
from dipeo_server.domains.execution.person.memory import (
    CANDIDATES_MAX,
    COMPARED_MAX,
    MemoryRule,
    candidates,
    chosen,
    exact_rule,
    newest,
    remembered,
    selection_prompt,
    without_senders,
)

TALK = (
    Message("m1", "system", "ann", "Hello Ann"),
    Message("m2", "ann", "system", "Hello"),
    Message("m3", "system", "bob", "Hello Bob"),
    Message("m4", "bob", "system", "Good day"),
    Message("m5", "bob", "ann", "And you?"),
)


@pytest.mark.parametrize(
    "rule, ids",
    [
        ("ALL_MESSAGES", "m1 m2 m3 m4 m5"),
        ("CONVERSATION_PAIRS", "m1 m2 m5"),
        ("SYSTEM_AND_ME", "m1 m2"),
        ("SENT_TO_ME", "m1 m5"),
        ("SENT_BY_ME", "m2"),
        ("GOLDFISH", ""),
    ],
)
def test_each_rule_keeps_exactly_its_messages(rule: str, ids: str) -> None:
    kept = remembered(MemoryRule(rule), TALK, "ann")
    assert [message.id for message in kept] == ids.split()


@pytest.mark.parametrize(
    "written, rule",
    [
        (None, MemoryRule.ALL_MESSAGES),
        ("  ", MemoryRule.ALL_MESSAGES),
        ("goldfish", MemoryRule.GOLDFISH),
        (" Sent_By_Me ", MemoryRule.SENT_BY_ME),
        ("remember all", None),
        ("GOLDFISH but better", None),
    ],
)
def test_only_the_names_of_rules_are_rules(written: str | None, rule: MemoryRule | None) -> None:
    assert exact_rule(written) is rule


def test_what_an_ignored_person_said_is_left_out() -> None:
    assert [message.id for message in without_senders(TALK, {"bob"})] == ["m1", "m2", "m3"]


def test_at_most_keeps_the_newest() -> None:
    assert [message.id for message in newest(TALK, 2)] == ["m4", "m5"]
    assert newest(TALK, None) == TALK
    assert newest(TALK, 9) == TALK


def said(*texts: str, sender: str = "ann") -> tuple[Message, ...]:
    return tuple(Message(f"m{n}", sender, "system", text) for n, text in enumerate(texts))


def test_of_messages_that_say_the_same_the_newest_is_offered() -> None:
    talk = said("a b c d e f g h i j", "something else", "j i h g f e d c b a k")
    assert [message.id for message in candidates(talk)] == ["m1", "m2"]


def test_a_message_inside_a_longer_one_counts_as_the_same() -> None:
    talk = said("one two", "one two three four five")
    assert [message.id for message in candidates(talk)] == ["m1"]


def test_only_the_beginning_of_a_message_is_compared() -> None:
    talk = said("x" * 400 + " and this", "x" * 400 + " but that")
    assert len(candidates(talk)) == 1


def test_empty_messages_are_the_same_as_each_other_only() -> None:
    talk = said("", "word", " ")
    assert [message.id for message in candidates(talk)] == ["m1", "m2"]


def test_when_there_are_too_many_the_oldest_go_first() -> None:
    talk = said(*(f"word{n}" for n in range(CANDIDATES_MAX + 5)))
    offered = candidates(talk)
    assert len(offered) == CANDIDATES_MAX
    assert offered == talk[5:]


def test_what_was_said_often_outlives_what_was_said_once() -> None:
    often = said(*["again and again"] * 5)
    talk = (*often, *said(*(f"word{n}" for n in range(CANDIDATES_MAX + 2))))
    assert candidates(talk)[0].content == "again and again"


def test_prompts_outlive_answers_of_the_same_age() -> None:
    old = (Message("p", "system", "ann", "prompt"), Message("a", "ann", "system", "answer"))
    talk = (*old, *said(*(f"word{n}" for n in range(CANDIDATES_MAX - 1))))
    ids = {message.id for message in candidates(talk)}
    assert "p" in ids
    assert "a" not in ids


def test_what_lies_far_back_is_not_even_compared() -> None:
    talk = said("long ago", *["the same"] * COMPARED_MAX)
    assert [message.content for message in candidates(talk)] == ["the same"]
    assert len(candidates(talk[:-1])) == 2


@given(st.lists(st.text("ab ", max_size=6), max_size=40))
def test_candidates_are_messages_of_the_conversation_in_its_order(texts: list[str]) -> None:
    talk = said(*texts)
    offered = candidates(talk)
    assert [message for message in talk if message in offered] == list(offered)
    assert bool(offered) == bool(talk)


def test_the_question_to_the_model_names_ids_criteria_and_limit() -> None:
    prompt = selection_prompt(TALK, criteria="greetings", at_most=3, task="say goodbye")
    for part in ('"m5" (from bob to ann): And you?', "greetings", "3 at most", "say goodbye"):
        assert part in prompt


def test_long_messages_are_shortened_in_the_question() -> None:
    prompt = selection_prompt(said("long " * 10_000), criteria="x", at_most=None, task="t" * 9_999)
    assert len(prompt) < 3_000


@pytest.mark.parametrize(
    "answer, ids",
    [
        ('["m1", "m3"]', "m1 m3"),
        ('["m3", "m1", "m1"]', "m1 m3"),
        ('Sure! Here they are:\n```json\n["m2"]\n```', "m2"),
        ('{"message_ids": ["m4"]}', "m4"),
        ('[{"id": "m5", "why": "last"}]', "m5"),
        ('[not json] and [1, 2] but ["m1"]', "m1"),
        ('["m1", "unknown", 7, null]', "m1"),
        ("[]", ""),
    ],
)
def test_an_answer_of_the_model_is_read_leniently(answer: str, ids: str) -> None:
    selected = chosen(answer, TALK)
    assert selected is not None
    assert [message.id for message in selected] == ids.split()


@pytest.mark.parametrize("answer", ["", "all of them", '["unknown"]', "[", '["m1"', "[" * 10_000])
def test_an_answer_without_known_ids_is_unusable(answer: str) -> None:
    assert chosen(answer, TALK) is None


@given(st.text(max_size=200) | st.lists(st.text(max_size=5)).map(json.dumps))
def test_any_answer_is_read_or_unusable(answer: str) -> None:
    selected = chosen(answer, TALK)
    assert selected is None or set(selected) <= set(TALK)
