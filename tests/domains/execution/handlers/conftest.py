"""Worlds for tests of handlers that ask a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.testing.stub_model import StubModel
from tests.domains.execution.handlers.person_world import (
    ANN,
    BOB,
    Point,
    World,
)


@pytest.fixture
async def echo(base_dir: Path) -> AsyncIterator[World]:
    models = ModelServices(base_urls={}, keys={})
    yield World(BaseDirFiles(base_dir), models)
    await models.close()


@pytest.fixture
async def via_stub(echo: World) -> AsyncIterator[Point]:
    """Points the world's persons to a stub server."""
    opened: list[ModelServices] = []

    def point(stub: StubModel) -> World:
        opened.append(ModelServices(base_urls={"": stub.base_url}, keys={}))
        persons = tuple(replace(person, service="openai") for person in (ANN, BOB))
        return replace(echo, models=opened[-1], persons=persons)

    yield point
    for models in opened:
        await models.close()
