"""Watching all executions of a runner: every commit leaves a mark, and only one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from dipeo_server.domains.execution.events import Event, Recorded, RunnerRestarted, StateChanged
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.runner import Commit
from dipeo_server.runtime.watches import Watches
from tests.builders import NOON

ONE, OTHER = ExecutionID("exec_0_one"), ExecutionID("exec_0_other")
CHANGED = StateChanged("a", 1)


def log(first: int, *events: Event) -> list[Recorded]:
    return [Recorded(Seq(first + place), NOON, event) for place, event in enumerate(events)]


async def soon(commits: AsyncIterator[Commit]) -> Commit:
    return await asyncio.wait_for(anext(commits), 5)


async def test_only_events_of_the_kinds_that_are_watched_leave_a_mark() -> None:
    watches = Watches()
    with watches.watching((StateChanged,)) as commits:
        watches.saw(OTHER, log(1, RunnerRestarted(0)))
        watches.saw(ONE, log(4, RunnerRestarted(0), CHANGED, CHANGED, RunnerRestarted(0)))
        assert await soon(commits) == Commit(ONE, Seq(5), Seq(6))


async def test_marks_of_one_execution_become_one_until_they_are_taken() -> None:
    watches = Watches()
    with watches.watching((StateChanged,)) as commits:
        watches.saw(ONE, log(2, CHANGED))
        watches.saw(OTHER, log(3, CHANGED))
        watches.saw(ONE, log(7, CHANGED))
        assert await soon(commits) == Commit(ONE, Seq(2), Seq(7))
        watches.saw(ONE, log(8, CHANGED))
        assert await soon(commits) == Commit(OTHER, Seq(3), Seq(3))
        assert await soon(commits) == Commit(ONE, Seq(8), Seq(8))


async def test_who_waits_is_woken() -> None:
    watches = Watches()
    with watches.watching((StateChanged,)) as commits:
        waiting = asyncio.create_task(soon(commits))
        await asyncio.sleep(0)
        assert not waiting.done()
        watches.saw(ONE, log(2, CHANGED))
        assert await waiting == Commit(ONE, Seq(2), Seq(2))


async def test_each_watch_has_its_own_marks_from_its_beginning_to_its_end() -> None:
    watches = Watches()
    with watches.watching((StateChanged,)) as early:
        watches.saw(ONE, log(2, CHANGED))
        with watches.watching((StateChanged,)) as late:
            watches.saw(ONE, log(3, CHANGED))
            assert await soon(late) == Commit(ONE, Seq(3), Seq(3))
        watches.saw(ONE, log(4, CHANGED))
        assert await soon(early) == Commit(ONE, Seq(2), Seq(4))
