"""Faults planted at the seams of the runner, each of which some oracle must name."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import pytest

from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.checkpoint import TakenCheckpoint
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    Durability,
    EarlyDecisionChanged,
    ExecutionCompleted,
    ExecutionStatusChanged,
    NodeCompleted,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.output import HandlerResult, TokenUsage, create_node_output
from dipeo_server.domains.execution.ports import ExecutionSummary, IdempotentAnswer, KeyedAnswer
from dipeo_server.domains.execution.registry import AnyHandler
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.runtime.perform import ConcurrencyLimits
from tests.simulation.faults import Disk, DiskHabits, FaultyStore
from tests.simulation.meddling import controlled
from tests.simulation.oracles import judge_log
from tests.simulation.scenario import SPECS, Meddling, Scenario, scenario
from tests.simulation.world import Plants, World, simulate

SEEDS_MAX = 60

Change = Callable[[Scenario], Scenario]


def accused(plants: Plants, mode: Durability, until: str, change: Change = lambda s: s) -> set[str]:
    """The oracles that speak up, over as many seeds as it takes for the one in question."""
    found: set[str] = set()
    for seed in range(SEEDS_MAX):
        world = change(scenario(seed, mode))
        found |= {each.oracle for each in simulate(world, plants).violations}
        if until in found:
            break
    return found


class HastyStore(FaultyStore):
    """Acknowledges what is only on its way to the disk."""

    _last: asyncio.Task[None] | None = None

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        before = self._last

        async def later() -> None:
            if before is not None:
                await asyncio.wait([before])
            await super(HastyStore, self).append(
                execution_id,
                events,
                after=after,
                summary=summary,
                answers=answers,
                checkpoints=checkpoints,
            )

        self._last = asyncio.create_task(later())


class ForgetfulStore(FaultyStore):
    """Mistakes every idempotency key for another one."""

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        await super().append(
            execution_id,
            events,
            after=after,
            summary=summary,
            answers=answers[:0],
            checkpoints=checkpoints,
        )

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        return await super().find_answer(principal, f"not {key}", now=now)


def kept(world: Scenario) -> Scenario:
    """The same scenario on a disk that takes its time and never fails."""
    return replace(world, habits=DiskHabits(commit_seconds_max=0.2))


def put_in(store: type[FaultyStore]) -> Plants:
    return Plants(store=lambda real, disk: replaced(store, real, disk))


def replaced(store: type[FaultyStore], real: FaultyStore, disk: Disk) -> FaultyStore:
    return store(disk, real.fate)


@pytest.mark.parametrize(
    "oracle",
    [
        "what is published is durable",
        "an answer is given after the commit",
        "an effect rests on durable events",
        "nothing starts before its NodeStarted is durable",
        "a view shows what is durable",
        "what is acknowledged is kept",
    ],
)
def test_a_store_that_acknowledges_too_early_is_noticed(oracle: str) -> None:
    assert oracle in accused(put_in(HastyStore), Durability.STRICT, oracle, kept)


@pytest.mark.parametrize(
    "oracle", ["the same key gets the same answer", "a key starts one execution"]
)
def test_a_store_that_forgets_keys_is_noticed(oracle: str) -> None:
    assert oracle in accused(put_in(ForgetfulStore), Durability.ADAPTIVE, oracle, kept)


def eager(world: Scenario) -> Scenario:
    """Every node passes for pure, so that the runner starts it ahead of the disk."""
    specs = {type_: replace(spec, is_pure=True) for type_, spec in SPECS.items()}
    return kept(replace(world, runs=tuple(replace(plan, specs=specs) for plan in world.runs)))


@pytest.mark.parametrize(
    "oracle",
    ["nothing starts before its NodeStarted is durable", "an effect rests on durable events"],
)
def test_a_node_with_effects_that_starts_ahead_of_the_disk_is_noticed(oracle: str) -> None:
    assert oracle in accused(Plants(), Durability.ADAPTIVE, oracle, eager)


def twice(handler: AnyHandler) -> AnyHandler:
    async def handle(node: DomainNode[Any], ctx: ExecutionContext) -> HandlerResult:
        await handler(node, ctx)
        return await handler(node, ctx)

    return handle


def never(handler: AnyHandler) -> AnyHandler:
    async def handle(node: DomainNode[Any], ctx: ExecutionContext) -> HandlerResult:
        return create_node_output({ctx.node.ports[0]: "done"})

    return handle


def disobedient(handler: AnyHandler) -> AnyHandler:
    async def handle(node: DomainNode[Any], ctx: ExecutionContext) -> HandlerResult:
        async def late() -> HandlerResult:
            await asyncio.sleep(1)
            return await handler(node, ctx)

        work = asyncio.ensure_future(late())
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                continue
        return work.result()

    return handle


@pytest.mark.parametrize(
    "around, oracle",
    [
        (twice, "an attempt has one effect at most"),
        (never, "effects happen at least once"),
        (never, "the result is the reference's"),
    ],
)
def test_handlers_that_are_entered_wrongly_are_noticed(
    around: Callable[[AnyHandler], AnyHandler], oracle: str
) -> None:
    assert oracle in accused(Plants(handlers=around), Durability.ADAPTIVE, oracle)


def aborted(world: Scenario) -> Scenario:
    """Somebody ends every run soon."""
    runs = tuple(replace(plan, abort_at=0.2, is_comparable=False) for plan in world.runs)
    return kept(replace(world, runs=runs))


def test_handlers_that_go_on_behind_an_abort_are_noticed() -> None:
    plants, oracle = Plants(handlers=disobedient), "abort stops"
    assert oracle in accused(plants, Durability.ADAPTIVE, oracle, aborted)


def again(handler: AnyHandler) -> AnyHandler:
    """Comes back to the node when it has long been done."""

    async def handle(node: DomainNode[Any], ctx: ExecutionContext) -> HandlerResult:
        async def once_more() -> None:
            for _ in range(20):
                await asyncio.sleep(0.1)
                await handler(node, ctx)

        asyncio.get_running_loop().create_task(once_more())
        return await handler(node, ctx)

    return handle


def paused(world: Scenario) -> Scenario:
    """Somebody pauses every run at once."""
    runs = tuple(
        replace(plan, meddling=(Meddling("pause", 0.0, 0.9),), is_comparable=False)
        for plan in world.runs
    )
    return kept(replace(world, runs=runs))


def test_handlers_that_begin_behind_a_pause_are_noticed() -> None:
    plants, oracle = Plants(handlers=again), "a pause holds"
    assert oracle in accused(plants, Durability.ADAPTIVE, oracle, paused)


async def skipping(events: AsyncGenerator[Recorded, None]) -> AsyncGenerator[Recorded, None]:
    async with aclosing(events):
        async for recorded in events:
            if recorded.seq != 4:
                yield recorded


async def stuttering(events: AsyncGenerator[Recorded, None]) -> AsyncGenerator[Recorded, None]:
    async with aclosing(events):
        async for recorded in events:
            yield recorded
            if recorded.seq == 4:
                yield recorded


async def twisting(events: AsyncGenerator[Recorded, None]) -> AsyncGenerator[Recorded, None]:
    async with aclosing(events):
        async for recorded in events:
            is_it = isinstance(recorded.event, NodeStarted)
            yield (
                replace(recorded, event=ExecutionCompleted(TokenUsage(), 0)) if is_it else recorded
            )


async def hasty(events: AsyncGenerator[Recorded, None]) -> AsyncGenerator[Recorded, None]:
    async with aclosing(events):
        async for recorded in events:
            yield recorded
            if recorded.is_terminal:
                yield replace(recorded, seq=Seq(recorded.seq + 1))


@pytest.mark.parametrize(
    "hub, oracle",
    [
        (skipping, "a subscriber misses nothing"),
        (stuttering, "a subscriber misses nothing"),
        (stuttering, "a subscriber gets the log"),
        (twisting, "what is published is what is durable"),
        (hasty, "what is published is durable"),
    ],
)
def test_a_hub_that_loses_repeats_or_changes_events_is_noticed(
    hub: Callable[[AsyncGenerator[Recorded, None]], AsyncGenerator[Recorded, None]], oracle: str
) -> None:
    assert oracle in accused(Plants(events=hub), Durability.STRICT, oracle)


def test_a_runner_that_forgets_its_limits_is_noticed() -> None:
    plants = Plants(limits=ConcurrencyLimits())
    oracle = "concurrency stays within its limits"
    assert oracle in accused(plants, Durability.ADAPTIVE, oracle)


def a_log() -> list[Recorded]:
    """The log of a run that completed."""
    for seed in range(SEEDS_MAX):
        world = World(scenario(seed, Durability.STRICT))
        world.run()
        for log in world.disk.logs.values():
            if isinstance(log[-1].event, ExecutionCompleted):
                return log
    raise AssertionError("no run completed")


@cache
def a_held_log() -> list[Recorded]:
    """The log of a run that was paused, where somebody decided ahead of time, to its end."""
    wanted = {BarrierResolved, EarlyDecisionChanged, ExecutionStatusChanged, NodeCompleted}
    for seed in range(SEEDS_MAX):
        world = World(controlled(scenario(seed, Durability.STRICT)))
        world.run()
        for log in world.disk.logs.values():
            kinds = {type(each.event) for each in log}
            is_paused = any(
                isinstance(e.event, ExecutionStatusChanged) and e.event.cause for e in log
            )
            if wanted <= kinds and is_paused and log[-1].is_terminal:
                return log
    raise AssertionError("no run was held and decided ahead of time")


def first(log: list[Recorded], kind: type) -> int:
    return next(place for place, each in enumerate(log) if isinstance(each.event, kind))


def renumbered(log: Sequence[Recorded]) -> list[Recorded]:
    return [replace(each, seq=Seq(place)) for place, each in enumerate(log, start=1)]


@pytest.mark.parametrize(
    "spoil, oracle",
    [
        (lambda log: log[:2] + log[3:], "sequence"),
        (lambda log: renumbered(log[1:]), "sequence"),
        (lambda log: [log[0], replace(log[1], at=log[-1].at), *log[2:-1]], "sequence"),
        (lambda log: renumbered([*log, log[-1]]), "terminal"),
        (lambda log: renumbered([*log[:2], log[-1], *log[2:]]), "terminal"),
        (lambda log: renumbered([*log, log[first(log, NodeCompleted)]]), "completions"),
        (lambda log: renumbered([*log, log[first(log, NodeStarted)]]), "starts"),
    ],
)
def test_a_spoilt_log_is_noticed(
    spoil: Callable[[list[Recorded]], list[Recorded]], oracle: str
) -> None:
    log = a_log()
    assert list(judge_log("run", log)) == []
    assert oracle in {each.oracle for each in judge_log("run", spoil(log))}


def pausing(log: list[Recorded]) -> int:
    """Where a run is paused first."""
    return next(
        place
        for place, each in enumerate(log)
        if isinstance(each.event, ExecutionStatusChanged)
        and each.event.after is ExecutionStatus.PAUSED
    )


@pytest.mark.parametrize(
    "spoil, oracle",
    [
        (
            lambda log: [
                *log[: pausing(log) + 1],
                log[first(log, NodeStarted)],
                *log[pausing(log) + 1 :],
            ],
            "pauses",
        ),
        (lambda log: [*log, log[first(log, BarrierResolved)]], "winners"),
        (lambda log: [*log, log[last(log, EarlyDecisionChanged)]], "early_decisions"),
        (
            lambda log: [
                *log[: last(log, EarlyDecisionChanged)],
                *log[last(log, EarlyDecisionChanged) + 1 :],
            ],
            "early_decisions",
        ),
    ],
)
def test_a_spoilt_log_of_a_held_run_is_noticed(
    spoil: Callable[[list[Recorded]], list[Recorded]], oracle: str
) -> None:
    log = a_held_log()
    assert list(judge_log("run", log)) == []
    assert oracle in {each.oracle for each in judge_log("run", spoil(log))}


def last(log: list[Recorded], kind: type) -> int:
    return max(place for place, each in enumerate(log) if isinstance(each.event, kind))
