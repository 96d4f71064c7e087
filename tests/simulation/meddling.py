"""People who do not leave runs alone: they pause, step, set breakpoints and decide early."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from dipeo_server.domains.execution.events import BarrierAction, Breakpoint
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.interventions import BreakpointWhen, PauseMode
from dipeo_server.domains.execution.signals import (
    BreakpointsSet,
    DecisionMade,
    DecisionRevoked,
    PauseRequested,
    PersonSignal,
    ResumeRequested,
    StepRequested,
)
from dipeo_server.errors import Rejected
from tests.simulation.scenario import JOURNEYS, Behaviour, Meddling, RunPlan, Scenario

Signal: TypeAlias = Callable[[str, str, PersonSignal, str], Awaitable[Rejected | None]]
"""Tells the run something, whatever it takes: mutation, what about, signal, name of the request."""

Travel: TypeAlias = Callable[[Meddling, str], Awaitable[None]]
"""Goes back to how the run stood, or changes more than what it does: one of the journeys."""

_EARLY = (BarrierAction.APPROVE, BarrierAction.REJECT, BarrierAction.SKIP)


def controlled(scenario: Scenario) -> Scenario:
    """The same scenario with people who meddle with its runs; drawn apart from all else in it."""
    chance = random.Random(f"control {scenario.seed}")
    runs = tuple(
        replace(plan, meddling=_meddling(chance, plan), behaviours=_behaviours(chance, plan))
        for plan in scenario.runs
    )
    return replace(scenario, runs=runs)


def _behaviours(chance: random.Random, plan: RunPlan) -> tuple[Behaviour, ...]:
    """More nodes that ask for approval, where nobody compares what becomes of the run."""
    return tuple(
        Behaviour("barrier")
        if not plan.is_comparable and kind == "plain" and chance.random() < 0.3
        else behaviour
        for kind, behaviour in zip(plan.sketch.kinds, plan.behaviours, strict=True)
    )


def _meddling(chance: random.Random, plan: RunPlan) -> tuple[Meddling, ...]:
    kinds = ["pause", "pause", "pause", "break"]
    if not plan.is_comparable:  # Who decides early knows no question, and so not its answer.
        kinds += ["early", "early", "revoke"]
    return tuple(
        Meddling(chance.choice(kinds), chance.choice((0.0, chance.uniform(0, 3))), chance.random())
        for _ in range(chance.randint(1, 5))
    )


@dataclass(frozen=True, slots=True)
class Meddler:
    """Somebody who meddles with one run."""

    plan: RunPlan
    chance: random.Random
    signal: Signal
    travel: Travel

    async def meddle(self) -> None:
        """Do what the plan says, each at its time, whatever becomes of the others."""
        plan = self.plan
        await asyncio.gather(
            *(self._do(number, meddling) for number, meddling in enumerate(plan.meddling))
        )

    async def _do(self, number: int, meddling: Meddling) -> None:
        await asyncio.sleep(meddling.at)
        name = f"{meddling.kind} {self.plan.name} {number}"
        match meddling.kind:
            case "pause":
                mode = PauseMode.NOW if meddling.luck < 0.5 else PauseMode.DRAIN
                await self.signal("pause", "", PauseRequested(mode, "wait", "ann"), name)
            case "break":
                await self.signal("break", "", BreakpointsSet(self._breakpoints(meddling)), name)
            case kind if kind in JOURNEYS:
                await self.travel(meddling, name)
            case "early":
                await self._decide_early(meddling, name)
            case _:
                await self.signal("revoke", "", DecisionRevoked("d1", "ann"), name)

    def _node(self, meddling: Meddling) -> str:
        names = self.plan.sketch.names
        return names[int(meddling.luck * len(names))]

    def _breakpoints(self, meddling: Meddling) -> tuple[Breakpoint, ...]:
        when = BreakpointWhen.BEFORE if meddling.at < 1.5 else BreakpointWhen.AFTER
        return (Breakpoint(self._node(meddling), when),)

    async def _decide_early(self, meddling: Meddling, name: str) -> None:
        asking = [
            key
            for key, behaviour in zip(self.plan.sketch.names, self.plan.behaviours, strict=True)
            if behaviour.type == "barrier"
        ]
        if not asking:
            return
        luck = int(meddling.luck * 12)
        key, occurrence = asking[luck % len(asking)], (None, None, 1, 2)[luck % 4]
        uses = (None, 1, 2)[luck % 3] if occurrence is None else None
        decision = DecisionMade(key, occurrence, _EARLY[luck % 3], max_uses=uses, actor="bob")
        await self.signal("early", key, decision, name)

    async def let_go(self, seq: Seq) -> None:
        """The run was paused: look for a while, take a step perhaps, or let it go on."""
        await asyncio.sleep(self.chance.uniform(0, 1))
        plan = self.plan.name
        if self.chance.random() < 0.4:
            refusal = await self.signal("step", "", StepRequested(), f"step {plan} {seq}")
            if refusal is None:
                return  # There will be another pause, behind the step.
        signal = ResumeRequested(max_steps=100_000)
        await self.signal("resume", "", signal, f"resume {plan} {seq}")
