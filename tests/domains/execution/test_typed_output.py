"""Typed outputs of one's own: they are judged, and say what goes downstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dipeo_server.domains.execution.typed_output import BaseNodeOutput, OutputInvalid, TextOutput


@dataclass
class Price(BaseNodeOutput[dict[str, Any]]):
    """A price in cents."""

    def validate(self) -> bool:
        return isinstance(self.value.get("cents"), int) and self.value["cents"] >= 0

    def transform(self) -> float:
        return float(self.value["cents"]) / 100


def test_002_10_what_is_valid_goes_downstream_transformed() -> None:
    output = Price({"cents": 250}, "buy", {"currency": "EUR"}).to_node_output()
    assert output.value == {"default": 2.5}
    assert output.metadata == {"currency": "EUR"}


@pytest.mark.parametrize("value", [{}, {"cents": -1}, {"cents": "2"}])
def test_002_10_what_is_not_valid_goes_nowhere_and_says_whose_it_is(value: dict[str, Any]) -> None:
    with pytest.raises(OutputInvalid, match="Price of 'buy' is not valid") as refused:
        Price(value, "buy").to_node_output()
    assert refused.value.code == "OUTPUT_INVALID"


def test_002_10_a_text_output_tells_errors_and_metadata() -> None:
    text = TextOutput("hello", metadata={"key": "value"})
    assert not text.has_error()
    assert text.get_output("key") == "value"
    assert text.get_output("none", "else") == "else"
    assert TextOutput("", metadata={"error": "no"}).has_error()


def test_002_10_a_map_is_asked_before_its_metadata() -> None:
    price = Price({"cents": 1}, metadata={"cents": 2, "note": "cheap"})
    assert price.get_output("cents") == 1
    assert price.get_output("note") == "cheap"
