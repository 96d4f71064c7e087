"""NAME=VALUE on the command line: a value is JSON where it parses, else text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from dipeo_server.cli.outcome import Unusable


def value_of(text: str) -> Any:
    """The JSON value that `text` spells; the text itself where it spells none."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def split(text: str, option: str) -> tuple[str, Any]:
    """The name and the value of one NAME=VALUE. Raises Unusable."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        message = f"{option} {text!r} is not written NAME=VALUE."
        raise Unusable(message, hint=f"For example: {option} 'topic=Spring sale'.")
    return name.strip(), value_of(value)


def variables(texts: Iterable[str]) -> dict[str, Any]:
    """Variables by name; the last of one name wins. Raises Unusable."""
    return dict(split(text, "--var") for text in texts)


class Answers:
    """What `--answer` says, by node: the first for its first visit, the last for all later ones."""

    def __init__(self, by_node: Mapping[str, list[Any]]) -> None:
        self._by_node = by_node

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Answers:
        """From NODE=VALUE texts in their order. Raises Unusable."""
        by_node: dict[str, list[Any]] = {}
        for text in texts:
            node, value = split(text, "--answer")
            by_node.setdefault(node, []).append(value)
        return cls(by_node)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names that answers were given for."""
        return tuple(self._by_node)

    def find(self, key: str, label: str, occurrence: int) -> list[Any]:
        """The one answer for that visit of a node, in a list; an empty list for none."""
        given = self._by_node.get(key) or self._by_node.get(label)
        return [] if given is None else [given[min(occurrence, len(given)) - 1]]
