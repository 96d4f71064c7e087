"""What the nodes of a simulation do: they work, have effects, fail, hang, wait and ask."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.output import (
    HandlerResult,
    WaitForPerson,
    WaitUntil,
    create_node_output,
)
from dipeo_server.domains.execution.registry import AnyHandler, HandlerRegistry, Registration
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.errors import NodeError
from tests.reference.outcome import output_value
from tests.simulation.faults import CrashPoint, Fate
from tests.simulation.loop import current_process
from tests.simulation.oracles import Witness
from tests.simulation.scenario import (
    CHILD,
    CHILD_PLAN,
    PADDING,
    SLOW_CHILD_PLAN,
    SPECS,
    Behaviour,
    RunPlan,
)

FOR_EVER = 1e9
LARGE_CHARACTERS = 300_000
_CHILD_DIAGRAM = CHILD_PLAN.diagram

Around = Callable[[AnyHandler], AnyHandler]
"""What a test puts around every handler."""


async def load_child(child: ChildRun, parent_path: str | None) -> ExecutableDiagram:
    """The one diagram that children have."""
    return _CHILD_DIAGRAM


class Deeds:
    """The handlers of all node types; what they have done is known to the witness alone."""

    def __init__(self, plans: dict[str, RunPlan], fate: Fate, witness: Witness) -> None:
        self._plans = plans
        self._fate = fate
        self._witness = witness
        self._entries: Counter[tuple[ExecutionID, str, int]] = Counter()

    def registry(self, around: Around | None = None) -> HandlerRegistry:
        """Every type, with the one handler; `around` may do something else around it."""
        handler = around(self.handle) if around else self.handle
        return HandlerRegistry(Registration(spec, handler) for spec in SPECS.values())

    async def handle(self, node: DomainNode[Any], ctx: ExecutionContext) -> HandlerResult:
        """Do what the plan says."""
        plan = self._plan_of(ctx)
        behaviour = _behaviour(plan, ctx)
        process, run = current_process(), ctx.node_run
        ctx.log("stdout", f"{run.node} begins")
        entry = self._witness.enters(process, ctx.execution_id, run, SPECS[node.type])
        try:
            await self._fate.passes(CrashPoint.ENTERED)
            await self._work(plan, behaviour, ctx)
        finally:
            entry.leave()
        self._fate.passes_behind(CrashPoint.POSTED)
        return _result(plan, behaviour, ctx)

    def _plan_of(self, ctx: ExecutionContext) -> RunPlan:
        known = self._plans.get(ctx.variables.get("name", CHILD))
        if known is not None:
            return known
        root = re.split("[/~]", self._witness.name_of(ctx.execution_id))[0]
        is_forked = root in self._plans and self._plans[root].journeys
        return SLOW_CHILD_PLAN if is_forked else CHILD_PLAN

    async def _work(self, plan: RunPlan, behaviour: Behaviour, ctx: ExecutionContext) -> None:
        run = ctx.node_run
        tries = self._count(ctx.execution_id, run)
        try:
            await asyncio.sleep(behaviour.before)
            if tries <= behaviour.hangs:
                await asyncio.sleep(FOR_EVER)
            await self._effect(ctx)
            await asyncio.sleep(behaviour.after)
        except asyncio.CancelledError:
            await asyncio.sleep(behaviour.stubborn)
            raise
        if plan.fails(run.node, run.occurrence):
            raise NodeError("It fails every time.")
        if tries <= behaviour.hangs + behaviour.fails:
            raise NodeError("It fails at first.", retryable=True)

    def _count(self, execution_id: ExecutionID, run: NodeRun) -> int:
        """For how many times the visit is entered; a fork goes on with what its attempt says."""
        visit = (execution_id, run.node, run.occurrence)
        self._entries[visit] += 1
        is_fork = execution_id in self._witness.disk.forks
        return run.attempt if is_fork else self._entries[visit]

    async def _effect(self, ctx: ExecutionContext) -> None:
        if SPECS[ctx.node.type].is_pure:
            return
        await self._fate.passes(CrashPoint.BEFORE_EFFECT)
        self._witness.effect(ctx.execution_id, ctx.node_run, ctx.inputs)
        await self._fate.passes(CrashPoint.AFTER_EFFECT)
        if ctx.node.type == CHILD:
            wish = ChildRun("child", None, None, {})
            child = await ctx.services.sub_diagrams.run(wish)
            if child.status is not ExecutionStatus.COMPLETED:
                raise NodeError(f"The child ended {child.status}.")
        behaviour = _behaviour(self._plan_of(ctx), ctx)
        if behaviour.is_early and not behaviour.fails and not behaviour.hangs:
            await _tell_early(ctx, self._plan_of(ctx))


async def _tell_early(ctx: ExecutionContext, plan: RunPlan) -> None:
    if plan.fails(ctx.node_run.node, ctx.node_run.occurrence):
        return
    output = create_node_output({_port(plan, ctx): value_of(ctx)})
    completed = NodeExecutionStatus.COMPLETED
    await ctx.state_store.update_node_status(ctx.execution_id, ctx.node_run.node, completed, output)


def _result(plan: RunPlan, behaviour: Behaviour, ctx: ExecutionContext) -> HandlerResult:
    value = value_of(ctx)
    if behaviour.type == "question":
        return WaitForPerson("answer", value)
    if behaviour.type == "barrier":
        return WaitForPerson("approval", value, timeout=60.0)
    if behaviour.is_large and behaviour.delay is None:
        value = value.ljust(LARGE_CHARACTERS, PADDING)
    output = create_node_output({_port(plan, ctx): value})
    return output if behaviour.delay is None else WaitUntil(behaviour.delay, output)


def value_of(ctx: ExecutionContext) -> str:
    """What the reference interpreter says that this NodeRun puts out."""
    inputs = {
        int(name.removeprefix("input_")): str(value).rstrip(PADDING)
        for name, value in ctx.inputs.items()
    }
    return output_value(ctx.node_run.node, ctx.node_run.occurrence, inputs)


def _behaviour(plan: RunPlan, ctx: ExecutionContext) -> Behaviour:
    return plan.behaviour_of(ctx.node.key, ctx.node.type)


def _port(plan: RunPlan, ctx: ExecutionContext) -> str:
    if not ctx.node.branches:
        return "default"
    answer = plan.answer(ctx.node.key, ctx.node_run.occurrence)
    return "condtrue" if answer else "condfalse"
