"""Mutations: each translates its arguments into one wish, and the answer into a payload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Annotated, Final, TypeAlias

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api import ids
from dipeo_server.api.context import Info
from dipeo_server.api.diagram_mutation import DiagramMutation
from dipeo_server.api.keys import idempotency_key
from dipeo_server.api.sources import resolve
from dipeo_server.api.types.arguments import Key
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.execution import barrier, execution_state
from dipeo_server.api.types.inputs import RunDiagramInput, variables_of
from dipeo_server.api.types.payloads import BarrierPayload, ExecutionPayload
from dipeo_server.api.types.problems import REFUSALS, UserError, user_error
from dipeo_server.domains.execution.events import BarrierAction, Durability, ErrorStrategy
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey, StartExecution
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BarrierDecided,
    ResumeRequested,
    Signal,
)
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import DipeoError, InvalidInput, InvalidState, NotFound

GRACE_MAX: Final = timedelta(minutes=5)

ExecutionArgument: TypeAlias = Annotated[strawberry.ID, strawberry.argument(description="The run.")]
BarrierArgument: TypeAlias = Annotated[
    strawberry.ID, strawberry.argument(description="The barrier.")
]
RunInput: TypeAlias = Annotated[
    RunDiagramInput, strawberry.argument(description="What to run, and how.")
]
Variables: TypeAlias = Annotated[
    JSON | None, strawberry.argument(description="An object: variables to set before it goes on.")
]
MaxSteps: TypeAlias = Annotated[
    int | None, strawberry.argument(description="A new limit of steps; null = as it is.")
]
OptionalReason: TypeAlias = Annotated[str | None, strawberry.argument(description="Why.")]
Reason: TypeAlias = Annotated[str, strawberry.argument(description="Why.")]
Grace: TypeAlias = Annotated[
    timedelta | None,
    strawberry.argument(description="How long running nodes have before they are killed."),
]
Answer: TypeAlias = Annotated[
    JSON | None, strawberry.argument(description="The answer, where one is asked for.")
]
Comment: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Kept as the decision's reason.")
]


@object_type
class Mutation(DiagramMutation):
    """Everything that changes something.

    A refusal is an answer: see `errors` of each payload.
    """

    @mutation
    async def run_diagram(
        self, info: Info, input: RunInput, idempotency_key: Key = None
    ) -> ExecutionPayload:
        """Run a diagram. Answers as soon as the run is accepted for good; subscribe to follow."""
        call = _Call(info, "runDiagram", {"input": input}, idempotency_key)

        async def start() -> Accepted:
            key = call.key()
            # What it named may have moved on, or been archived, since it was answered.
            known = await info.context.runner.answered(key)
            if known is not None:
                return known
            source = await resolve(input.source, info.context)
            request = StartExecution(
                source.diagram,
                diagram_id=source.diagram_id,
                revision=source.revision,
                variables=variables_of(input.variables, ("input", "variables")),
                max_steps=input.max_steps,
                error_strategy=input.error_strategy or ErrorStrategy.FAIL_FAST,
                durability=input.durability or Durability.ADAPTIVE,
                actor=info.context.principal,
            )
            return await info.context.runner.start(request, key)

        return await call.execution_payload(start)

    @mutation
    async def resume_execution(
        self,
        info: Info,
        id: ExecutionArgument,
        variables: Variables = None,
        max_steps: MaxSteps = None,
        idempotency_key: Key = None,
    ) -> ExecutionPayload:
        """Let a paused run go on."""
        arguments = {"id": id, "variables": variables, "maxSteps": max_steps}
        call = _Call(info, "resumeExecution", arguments, idempotency_key)

        async def resume() -> Accepted:
            wish = ResumeRequested(
                max_steps=max_steps,
                variables=variables_of(variables, ("variables",)),
                actor=info.context.principal,
            )
            return await call.signal(ExecutionID(id), wish)

        return await call.execution_payload(resume, ExecutionID(id))

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
        call = _Call(info, "abortExecution", arguments, idempotency_key)

        async def abort() -> Accepted:
            wish = AbortRequested(
                reason=reason,
                actor=info.context.principal,
                grace_seconds=_grace_seconds(grace),
            )
            return await call.signal(ExecutionID(id), wish)

        return await call.execution_payload(abort, ExecutionID(id))

    @mutation
    async def approve_barrier(
        self,
        info: Info,
        id: BarrierArgument,
        answer: Answer = None,
        comment: Comment = None,
        idempotency_key: Key = None,
    ) -> BarrierPayload:
        """Approve at a waiting barrier, or answer its question."""
        arguments = {"id": id, "answer": answer, "comment": comment}
        call = _Call(info, "approveBarrier", arguments, idempotency_key)
        return await call.decide(id, BarrierAction.APPROVE, reason=comment, answer=answer)

    @mutation
    async def reject_barrier(
        self, info: Info, id: BarrierArgument, reason: Reason, idempotency_key: Key = None
    ) -> BarrierPayload:
        """Reject at a waiting barrier."""
        arguments = {"id": id, "reason": reason}
        call = _Call(info, "rejectBarrier", arguments, idempotency_key)
        return await call.decide(id, BarrierAction.REJECT, reason=reason)


class _Call:
    """One mutation of a request: its key, and how its answer becomes a payload."""

    def __init__(
        self, info: Info, name: str, arguments: Mapping[str, object], key: str | None
    ) -> None:
        self._context = info.context
        self._name = name
        self._arguments = arguments
        self._key = key

    def key(self) -> IdempotencyKey | None:
        """The key as the runner takes it. Raises InvalidInput."""
        return idempotency_key(self._context, self._name, self._arguments, self._key)

    async def signal(self, execution_id: ExecutionID, wish: Signal) -> Accepted:
        """Tell the execution."""
        return await self._context.runner.signal(execution_id, wish, self.key())

    async def execution_payload(
        self, act: Callable[[], Awaitable[Accepted]], about: ExecutionID | None = None
    ) -> ExecutionPayload:
        """The run behind what `act` did, or why it did nothing."""
        try:
            accepted = await act()
        except REFUSALS as refusal:
            return ExecutionPayload(errors=[await self._user_error(refusal, about)])
        return ExecutionPayload(execution=execution_state(await self._behind(accepted)))

    async def decide(
        self,
        barrier_id: str,
        action: BarrierAction,
        *,
        reason: str | None,
        answer: JSON | None = None,
    ) -> BarrierPayload:
        """Decide a barrier, and show it behind that."""
        part = ids.decode(barrier_id)
        if part is None or part.kind is not ids.Kind.BARRIER:
            missing = NotFound(f"There is no barrier {barrier_id!r}.")
            return BarrierPayload(errors=[await self._user_error(missing, None)])
        wish = BarrierDecided(
            part.barrier, action, reason=reason, answer=answer, actor=self._context.principal
        )
        try:
            accepted = await self.signal(part.execution_id, wish)
        except REFUSALS as refusal:
            return BarrierPayload(errors=[await self._user_error(refusal, part.execution_id)])
        view = await self._behind(accepted)
        decided = next((found for found in view.barriers if found.id == part.barrier), None)
        return BarrierPayload(
            barrier=barrier(decided, view.id) if decided is not None else None,
            execution=execution_state(view),
        )

    async def _behind(self, accepted: Accepted) -> ExecutionView:
        view = await self._context.fresh_view(accepted.execution_id)
        if view is None:
            raise RuntimeError(f"{accepted.execution_id} was accepted and cannot be seen.")
        return view

    async def _user_error(self, refusal: DipeoError, about: ExecutionID | None) -> UserError:
        view = None
        if about is not None and isinstance(refusal, InvalidState):
            view = await self._context.fresh_view(about)
        return user_error(refusal, about, view.status if view is not None else None)


def _grace_seconds(grace: timedelta | None) -> float:
    if grace is None:
        return 2.0
    if not timedelta(0) <= grace <= GRACE_MAX:
        raise InvalidInput("`grace` must be between PT0S and PT5M.", field=("grace",))
    return grace.total_seconds()
