"""Suggestions for names that are not known: the nearest one, and short lists of those that are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

# A suggestion is a courtesy; these bound what it may cost on hostile input.
NAMES_MAX = 500
NAME_CHARACTERS_MAX = 100
LISTED_MAX = 10
LISTED_CHARACTERS_MAX = 160


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name` (upper and lower case are alike), or None."""
    if len(name) > NAME_CHARACTERS_MAX:
        return None
    spellings: dict[str, str] = {}
    for candidate in islice(known, NAMES_MAX):
        if len(candidate) <= NAME_CHARACTERS_MAX:
            spellings.setdefault(candidate.casefold(), candidate)
    folded = name.casefold()
    if folded in spellings:
        return spellings[folded]
    matches = get_close_matches(folded, spellings, n=1, cutoff=0.6)
    return spellings[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint naming the nearest known name, or None."""
    match = nearest(name, known)
    return None if match is None else f"Did you mean {match!r}?"


def listed(names: Iterable[str]) -> str:
    """`a, b, c`, cut after ten names; `none` if there are none."""
    every = list(names)
    shown = ", ".join(name[:LISTED_CHARACTERS_MAX] for name in every[:LISTED_MAX]) or "none"
    rest = len(every) - LISTED_MAX
    return f"{shown} and {rest} more" if rest > 0 else shown
