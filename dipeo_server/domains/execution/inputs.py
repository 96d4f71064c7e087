"""How handlers commonly look at their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def passed_on(inputs: Mapping[str, Any]) -> Any:
    """What a node that only passes on gives: a lone input itself, several as a map by name."""
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return dict(inputs) if inputs else None


def first_value(inputs: Mapping[str, Any]) -> Any:
    """The `default` input, else the first that is not empty, else None."""
    if inputs.get("default") is not None:
        return inputs["default"]
    return next((value for value in inputs.values() if value not in (None, "", {}, [])), None)
