"""Limits as an operator sets them, and as clients read them."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import ValidationError
from strawberry.utils.str_converters import to_camel_case

from dipeo_server.api.context import ApiLimits
from dipeo_server.app import backend
from dipeo_server.settings import Settings
from tests.api.serving import serving
from tests.cli.processes import dipeo


async def test_every_limit_can_be_set_and_is_told(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPEO_LIMITS__OPERATION_SECONDS", "2.5")
    monkeypatch.setenv("DIPEO_LIMITS__DEPTH", "7")
    settings = Settings(base_dir=base_dir, store="memory:")
    async with backend(settings) as services:
        limits = services.limits
    async with serving(base_dir, limits=limits) as live:
        told = (await live.data("{ serverInfo { limits } }"))["serverInfo"]["limits"]
        too_deep = await live.answer("{ serverInfo { version } " + "a { " * 7 + "b" + " }" * 8)
    assert (told["operationSeconds"], told["depth"]) == (2.5, 7)
    assert len(told) >= len(ApiLimits.__slots__)
    assert "at most 7 are allowed" in too_deep["errors"][0]["message"]


def test_no_limit_is_less_than_nothing(base_dir: Path) -> None:
    with pytest.raises(ValidationError, match="depth is -1, which is less than 0"):
        Settings(base_dir=base_dir, limits=ApiLimits(depth=-1))


def test_a_limit_that_there_is_not_is_named(base_dir: Path) -> None:
    env = {"DIPEO_LIMITS__DEPHT": "7", "DIPEO_AUTH": "none"}
    done = dipeo("serve", "--port", "0", "--store", "memory:", "--base-dir", base_dir, env=env)
    assert done.code == 2
    assert "DIPEO_LIMITS__DEPHT" in done.err


def test_a_limit_that_is_no_number_is_named_as_it_was_given(base_dir: Path) -> None:
    env = {"DIPEO_LIMITS__DEPTH": "many", "DIPEO_AUTH": "none"}
    done = dipeo("serve", "--port", "0", "--store", "memory:", "--base-dir", base_dir, env=env)
    assert done.code == 2
    assert "DIPEO_LIMITS__DEPTH" in done.err


def test_every_limit_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    told = set(re.findall(r"`(\w+)`", page))
    assert {to_camel_case(each.name) for each in fields(ApiLimits)} <= told
