"""Parents that are held and go on again while their children cannot be told of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from dipeo_server.domains.execution.events import Ending, ExecutionStatusChanged, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.signals import PauseRequested, ResumeRequested, Signal
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import StorageError
from dipeo_server.runtime.family import Family

PARENT, CHILD = ExecutionID("parent"), ExecutionID("child")
PAUSED, RUNNING = ExecutionStatus.PAUSED, ExecutionStatus.RUNNING


def moved(seq: int, before: ExecutionStatus, after: ExecutionStatus) -> Recorded:
    return Recorded(
        Seq(seq), datetime(2026, 1, 1, tzinfo=UTC), ExecutionStatusChanged(before, after)
    )


async def test_a_pause_that_could_not_be_told_is_not_told_once_it_is_over() -> None:
    told: list[Signal] = []

    async def tell(_: ExecutionID, signal: Signal) -> None:
        told.append(signal)
        if isinstance(signal, PauseRequested):
            # The disk is in trouble, and the parent goes on before it is well again.
            family.saw(PARENT, [moved(2, PAUSED, RUNNING)])
            raise StorageError("the disk is in trouble")

    family = Family(tell)
    family.adopt(CHILD, PARENT, NodeRun("work", 1))
    family.saw(PARENT, [moved(1, RUNNING, PAUSED)])
    await family.settled(PARENT)
    assert [type(signal) for signal in told] == [PauseRequested, ResumeRequested]


async def test_a_run_that_is_aborted_while_it_is_held_holds_its_children() -> None:
    told: list[Signal] = []

    async def tell(_: ExecutionID, signal: Signal) -> None:
        told.append(signal)

    family = Family(tell)
    family.adopt(CHILD, PARENT, NodeRun("work", 1))
    ending = ExecutionStatusChanged(PAUSED, PAUSED, ending=Ending("abort"))
    held = moved(1, RUNNING, PAUSED)
    family.saw(PARENT, [held, replace(held, seq=Seq(2), event=ending)])
    await family.settled(PARENT)
    assert [type(signal) for signal in told] == [PauseRequested]


async def test_a_resumption_that_could_not_be_told_is_not_told_once_it_is_held_again() -> None:
    told: list[Signal] = []

    async def tell(_: ExecutionID, signal: Signal) -> None:
        told.append(signal)
        if isinstance(signal, ResumeRequested):
            family.saw(PARENT, [moved(3, RUNNING, PAUSED)])
            raise StorageError("the disk is in trouble")

    family = Family(tell)
    family.adopt(CHILD, PARENT, NodeRun("work", 1))
    family.saw(PARENT, [moved(1, RUNNING, PAUSED)])
    await family.settled(PARENT)
    family.saw(PARENT, [moved(2, PAUSED, RUNNING)])
    await family.settled(PARENT)
    assert [type(signal) for signal in told] == [PauseRequested, ResumeRequested, PauseRequested]
