"""A delay asks the engine for a deadline and passes its inputs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.handlers.delay import DelayProps
from dipeo_server.domains.execution.output import WaitUntil
from tests.domains.execution.handlers.visiting import Place


@pytest.mark.parametrize(
    "inputs, passed",
    [({"default": 1}, 1), ({"a": 1, "b": 2}, {"a": 1, "b": 2}), ({}, None)],
)
async def test_it_waits_and_passes_on(base_dir: Path, inputs: dict[str, Any], passed: Any) -> None:
    result, _ = await Place(base_dir).visit("delay", inputs, seconds=0.5)
    assert isinstance(result, WaitUntil)
    assert (result.seconds, result.output.value) == (0.5, {"default": passed})


@pytest.mark.parametrize("seconds", [-1, 31_536_001, "soon"])
def test_only_some_seconds_up_to_a_year_can_be_waited(seconds: Any) -> None:
    with pytest.raises(ValidationError):
        DelayProps(seconds=seconds)
