"""Yes, no, or unclear: what answers decide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.llm_decision import (
    AFFIRMATIVE,
    NEGATIVE,
    decide,
    read_decision,
)


@pytest.mark.parametrize("word", sorted(AFFIRMATIVE))
def test_each_affirmative_word_decides(word: str) -> None:
    assert decide(word) is True
    assert decide(f"**{word.upper()}**.") is True


@pytest.mark.parametrize("word", sorted(NEGATIVE))
def test_each_negative_word_decides(word: str) -> None:
    assert read_decision(f"{word.title()}!") is False


@pytest.mark.parametrize(
    "text, decision",
    [
        ("Yes, there is no problem.", True),
        ("No. It would be valid otherwise.", False),
        ("The result is valid.", True),
        ("The result is invalid.", False),
        ("It is not valid.", False),
        ("This does not pass the test", False),
        ("It doesn\u2019t fail", True),
        ("All checks passed", True),
        ("incorrect", False),
        ('{"decision": true, "reason": "no doubt"}', True),
        ('```json\n{"decision": false}\n```', False),
        ('{"decision": "yes"}', True),
        ("{broken yes", True),
        ("{broken} no", False),
        ("It could be valid or invalid.", None),
        ("Perhaps.", None),
        ("", None),
        ("I know nothing of it: eyes, nose, yesterday.", None),
    ],
)
def test_an_answer_decides_or_is_unclear(text: str, decision: bool | None) -> None:
    assert read_decision(text) is decision
    assert decide(text) is (decision is True)


@given(st.text())
def test_any_text_gives_a_yes_or_a_no(text: str) -> None:
    assert decide(text) in (True, False)
