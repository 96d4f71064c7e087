"""The workloads are what they are called, and whoever runs them comes to the same result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from bench.contestants import ideal, ours, raw
from bench.engine import Prepare
from bench.shapes import NAMES, workload

Opened: TypeAlias = Callable[[str, Path], AbstractAsyncContextManager[Prepare]]


def test_shapes_have_the_size_that_was_asked_for() -> None:
    assert {name: workload(name, 100).node_runs for name in NAMES} == {
        "chain": 100,
        "fan": 102,
        "layered": 100,
        "small": 200,
        "loop": 200,
    }
    for size in (40, 100):
        parents = workload("layered", size).parents
        assert {len(set(sources)) for sources in parents} == {0, 3}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "opened, mode",
    [
        (raw.opened, "-"),
        (ideal.opened, "strict"),
        (ideal.opened, "ahead"),
        (ours.opened, "strict"),
        (ours.opened, "adaptive"),
        (ours.opened, "pure"),
        (ours.opened, "memory"),
    ],
)
async def test_every_engine_here_comes_to_the_same_result(
    opened: Opened, mode: str, name: str, tmp_path: Path
) -> None:
    work = workload(name, 40)
    async with opened(mode, tmp_path) as prepare:
        job = prepare(work)
        await job.run()
        assert set(await job.results()) == {work.result}
