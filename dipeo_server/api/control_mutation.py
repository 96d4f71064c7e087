"""Mutations that steer a run: pause, step, resume, abort; nodes by hand; breakpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, TypeAlias

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.approving import check_results
from dipeo_server.api.calls import Call
from dipeo_server.api.context import Info
from dipeo_server.api.revision_policy import migration
from dipeo_server.api.types.arguments import ExecutionArgument, Key, NodeKey, OptionalReason
from dipeo_server.api.types.control_inputs import BreakpointInput, breakpoints_of, budget_of
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.enums import RevisionPolicy
from dipeo_server.api.types.inputs import variables_of
from dipeo_server.api.types.payloads import ExecutionPayload
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.runner import Accepted
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BreakpointsSet,
    OutputGiven,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    Signal,
    SkipRequested,
    StepRequested,
)
from dipeo_server.errors import InvalidInput

GRACE_MAX: Final = timedelta(minutes=5)

Mode: TypeAlias = Annotated[
    PauseMode | None, strawberry.argument(description="What becomes of running nodes.")
]
Variables: TypeAlias = Annotated[
    JSON | None, strawberry.argument(description="An object: variables to set before it goes on.")
]
MaxSteps: TypeAlias = Annotated[
    int | None, strawberry.argument(description="A new limit of steps; null = as it is.")
]
MaxTokens: TypeAlias = Annotated[
    int | None,
    strawberry.argument(description="A new limit of tokens of models; null = as it is."),
]
MaxTime: TypeAlias = Annotated[
    timedelta | None,
    strawberry.argument(description="A new limit of the time it is RUNNING; null = as it is."),
]
Policy: TypeAlias = Annotated[
    RevisionPolicy | None,
    strawberry.argument(description="What if the stored diagram has moved on?"),
]
StepNode: TypeAlias = Annotated[
    str | None,
    strawberry.argument(description="Key of the ready node to run; null = the first one."),
]
SkipReason: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Why; kept as the event's comment.")
]
Output: TypeAlias = Annotated[
    JSON,
    strawberry.argument(
        description=(
            "The result. An object whose keys are ports chooses those of a node with several; "
            "true or false choose those of a condition."
        )
    ),
]
Grace: TypeAlias = Annotated[
    timedelta | None,
    strawberry.argument(description="How long running nodes have before they are killed."),
]
Breakpoints: TypeAlias = Annotated[
    list[BreakpointInput],
    strawberry.argument(description="All that there are to be; an empty list removes them."),
]


@object_type
class ControlMutation:
    """Everything that steers a run."""

    @mutation
    async def pause_execution(
        self,
        info: Info,
        id: ExecutionArgument,
        mode: Mode = PauseMode.DRAIN,
        reason: OptionalReason = None,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Hold a run, and the runs of its sub-diagrams: nothing new starts until it is resumed.

        Its barriers can still be decided, and its nodes retried, skipped or given a result.
        """
        arguments = {"id": id, "mode": mode, "reason": reason}
        call = Call(info, "pauseExecution", arguments, idempotency_key, id)
        mode = mode or PauseMode.DRAIN
        return await _told(call, PauseRequested(mode, reason, actor=info.context.principal))

    @mutation
    async def step_execution(
        self,
        info: Info,
        id: ExecutionArgument,
        node_key: StepNode = None,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Let one ready node of a paused run run, then hold the run again."""
        arguments = {"id": id, "nodeKey": node_key}
        call = Call(info, "stepExecution", arguments, idempotency_key, id)
        wish = StepRequested(node_key, actor=info.context.principal)
        return await _told(call, wish, node_key)

    @mutation
    async def resume_execution(  # noqa: PLR0913 - the arguments are the API's.
        self,
        info: Info,
        id: ExecutionArgument,
        variables: Variables = None,
        max_steps: MaxSteps = None,
        max_tokens: MaxTokens = None,
        max_time: MaxTime = None,
        revision_policy: Policy = RevisionPolicy.STRICT,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Let a paused run go on, with higher limits where those had paused it.

        A run of a stored diagram that has another newest revision by now goes on only if
        `revisionPolicy` says how.
        """
        arguments: dict[str, object] = {"id": id, "variables": variables, "maxSteps": max_steps}
        # Left out where not given, so that keys of requests without them stay what they were.
        policy = revision_policy or RevisionPolicy.STRICT
        named = None if policy is RevisionPolicy.STRICT else policy
        extras = {"maxTokens": max_tokens, "maxTime": max_time, "revisionPolicy": named}
        arguments |= {name: value for name, value in extras.items() if value is not None}
        call = Call(info, "resumeExecution", arguments, idempotency_key, id)

        async def resume() -> Accepted:
            known = await info.context.runner.answered(call.key())
            if known is not None:
                return known
            change = await migration(info.context, await call.run(), policy)
            wish = ResumeRequested(
                max_steps=max_steps,
                budget=budget_of(max_tokens, max_time),
                variables=variables_of(variables, ("variables",)),
                change=change,
                actor=info.context.principal,
            )
            return await call.tell(wish)

        return await call.payload(resume)

    @mutation
    async def abort_execution(
        self,
        info: Info,
        id: ExecutionArgument,
        reason: OptionalReason = None,
        grace: Grace = timedelta(seconds=2),
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """End a run: what runs is cancelled at once, and killed after the grace period."""
        arguments = {"id": id, "reason": reason, "grace": grace}
        call = Call(info, "abortExecution", arguments, idempotency_key, id)

        async def abort() -> Accepted:
            wish = AbortRequested(
                reason=reason,
                actor=info.context.principal,
                grace_seconds=_grace_seconds(grace),
            )
            return await call.tell(wish)

        return await call.payload(abort)

    @mutation
    async def set_breakpoints(
        self,
        info: Info,
        execution_id: ExecutionArgument,
        breakpoints: Breakpoints,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Pause the run at these nodes from now on, and at no others."""
        arguments = {"executionId": execution_id, "breakpoints": breakpoints}
        call = Call(info, "setBreakpoints", arguments, idempotency_key, execution_id)

        async def set_() -> Accepted:
            view = await call.run()
            wanted = breakpoints_of(breakpoints, view.diagram, ("breakpoints",))
            wish = BreakpointsSet(wanted, actor=info.context.principal)
            return await call.tell(wish)

        return await call.payload(set_)

    @mutation
    async def retry_node(
        self,
        info: Info,
        execution_id: ExecutionArgument,
        node_key: NodeKey,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Run a failed node again, or at once one that waits for its retry."""
        arguments = {"executionId": execution_id, "nodeKey": node_key}
        call = Call(info, "retryNode", arguments, idempotency_key, execution_id)
        return await _told(call, RetryRequested(node_key, info.context.principal), node_key)

    @mutation
    async def skip_node(
        self,
        info: Info,
        execution_id: ExecutionArgument,
        node_key: NodeKey,
        reason: SkipReason = None,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Do not run a node that is ready, runs, waits or has failed; it gives nothing."""
        arguments = {"executionId": execution_id, "nodeKey": node_key, "reason": reason}
        call = Call(info, "skipNode", arguments, idempotency_key, execution_id)
        wish = SkipRequested(node_key, reason, info.context.principal)
        return await _told(call, wish, node_key)

    @mutation
    async def set_node_output(
        self,
        info: Info,
        execution_id: ExecutionArgument,
        node_key: NodeKey,
        output: Output,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Take this as the result of a node that is ready, runs, waits or has failed."""
        arguments = {"executionId": execution_id, "nodeKey": node_key, "output": output}
        call = Call(info, "setNodeOutput", arguments, idempotency_key, execution_id)
        wish = OutputGiven(node_key, output, info.context.principal)

        async def give() -> Accepted:
            view = await call.run(node_key)
            argument = "Mutation.setNodeOutput(output)"
            await check_results(info.context, argument, view.diagram, [node_key], view.id)
            return await call.tell(wish)

        return await call.payload(give)


async def _told(call: Call, wish: Signal, node_key: str | None = None) -> ExecutionPayload:
    """The run behind a wish about it, and perhaps about one of its nodes."""

    async def tell() -> Accepted:
        if node_key is not None:
            await call.run(node_key)
        return await call.tell(wish)

    return await call.payload(tell)


def _grace_seconds(grace: timedelta | None) -> float:
    if grace is None:
        return 2.0
    if not timedelta(0) <= grace <= GRACE_MAX:
        raise InvalidInput("`grace` must be between PT0S and PT5M.", field=("grace",))
    return grace.total_seconds()
