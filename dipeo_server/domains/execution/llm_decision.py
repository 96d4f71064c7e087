"""Yes or no: what a language model's answer to a question decides."""

from __future__ import annotations

import json
import re
from typing import Any, Final

AFFIRMATIVE: Final = frozenset({"yes", "true", "valid", "approved", "accept", "correct", "pass"})
NEGATIVE: Final = frozenset({"no", "false", "invalid", "rejected", "deny", "fail"})

_FORMS: Final = {
    "approve": "approved",
    "approves": "approved",
    "accepts": "accept",
    "accepted": "accept",
    "passes": "pass",
    "passed": "pass",
    "incorrect": "false",
    "reject": "rejected",
    "rejects": "rejected",
    "denies": "deny",
    "denied": "deny",
    "fails": "fail",
    "failed": "fail",
}
_NEGATIONS: Final = frozenset({"not", "never", "cannot", "isn't", "doesn't", "don't", "can't"})
_NEGATION_REACH_WORDS: Final = 3
_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)?")


def decide(text: str) -> bool:
    """Is the answer affirmative? Anything unclear is not."""
    return read_decision(text) is True


def read_decision(text: str) -> bool | None:
    """What the answer decides; None if that is unclear.

    A JSON object with a boolean `decision` decides; else the first word, where it is one of the
    words known; else the words of the text, if all that are known agree. A negation (`not valid`)
    turns the words behind it round.
    """
    written = _written_decision(text)
    if written is not None:
        return written
    words = [_FORMS.get(word, word) for word in _WORD.findall(text.lower().replace("\u2019", "'"))]
    if words and words[0] in AFFIRMATIVE | NEGATIVE:
        return words[0] in AFFIRMATIVE
    found = {_meaning(words, place) for place in range(len(words))} - {None}
    return found.pop() if len(found) == 1 else None


def _meaning(words: list[str], place: int) -> bool | None:
    word = words[place]
    if word not in AFFIRMATIVE | NEGATIVE:
        return None
    before = words[max(0, place - _NEGATION_REACH_WORDS) : place]
    is_negated = any(other in _NEGATIONS for other in before)
    return (word in AFFIRMATIVE) is not is_negated


def _written_decision(text: str) -> bool | None:
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        document: Any = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return None
    decision = document.get("decision") if isinstance(document, dict) else None
    return decision if isinstance(decision, bool) else None
