"""Mutations that decide barriers: those that wait, and those to come."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, TypeAlias

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api import deciding
from dipeo_server.api.calls import Call
from dipeo_server.api.context import Info
from dipeo_server.api.deciding import Decision
from dipeo_server.api.types.arguments import Key, OptionalReason
from dipeo_server.api.types.control_inputs import BarrierTarget
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.inputs import variables_of
from dipeo_server.api.types.payloads import BarrierPayload
from dipeo_server.domains.execution.events import BarrierAction

BarrierArgument: TypeAlias = Annotated[
    strawberry.ID, strawberry.argument(description="The barrier.")
]
DecisionArgument: TypeAlias = Annotated[
    strawberry.ID, strawberry.argument(description="The decision, as `earlyDecisions` names it.")
]
Target: TypeAlias = Annotated[
    BarrierTarget, strawberry.argument(description="What to decide on, now or ahead of time.")
]
Action: TypeAlias = Annotated[BarrierAction, strawberry.argument(description="What to decide.")]
Reason: TypeAlias = Annotated[str, strawberry.argument(description="Why.")]
Answer: TypeAlias = Annotated[
    JSON | None, strawberry.argument(description="The answer, where one is asked for.")
]
Comment: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Kept as the decision's reason.")
]
Puts: TypeAlias = Annotated[
    JSON | None, strawberry.argument(description="An object: variables to set, for MODIFY.")
]
Reroute: TypeAlias = Annotated[
    str | None,
    strawberry.argument(
        description="For REROUTE: key of an edge from there, or of a node with one edge from there."
    ),
]
ExpiresIn: TypeAlias = Annotated[
    timedelta | None,
    strawberry.argument(
        description="When a decision ahead of time becomes void; null = with the run."
    ),
]
MaxUses: TypeAlias = Annotated[
    int | None,
    strawberry.argument(
        description="How many visits a decision on every visit decides; null = any number."
    ),
]


@object_type
class BarrierMutation:
    """Everything that decides a barrier."""

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
        call = Call(info, "approveBarrier", arguments, idempotency_key)
        return await deciding.decide_barrier(
            call, id, Decision(BarrierAction.APPROVE, reason=comment, answer=answer)
        )

    @mutation
    async def reject_barrier(
        self, info: Info, id: BarrierArgument, reason: Reason, idempotency_key: Key = None
    ) -> BarrierPayload:
        """Reject at a waiting barrier."""
        arguments = {"id": id, "reason": reason}
        call = Call(info, "rejectBarrier", arguments, idempotency_key)
        return await deciding.decide_barrier(
            call, id, Decision(BarrierAction.REJECT, reason=reason)
        )

    @mutation
    async def decide_barrier(  # noqa: PLR0913 - the arguments are the API's.
        self,
        info: Info,
        target: Target,
        action: Action,
        reason: OptionalReason = None,
        answer: Answer = None,
        variables: Puts = None,
        reroute: Reroute = None,
        expires_in: ExpiresIn = None,
        max_uses: MaxUses = None,
        idempotency_key: Key = None,
    ) -> BarrierPayload:
        """Any decision, for a waiting barrier or ahead of time for a node.

        The first decision that is committed wins; later ones are told which. Ahead of time, one for
        a single visit beats one for every visit, and the newest of those beats the others.
        """
        arguments: dict[str, object] = {
            "target": target,
            "action": action,
            "reason": reason,
            "answer": answer,
            "variables": variables,
            "reroute": reroute,
            "expiresIn": expires_in,
            "maxUses": max_uses,
        }
        call = Call(info, "decideBarrier", arguments, idempotency_key)

        def decision() -> Decision:
            puts = variables_of(variables, ("variables",))
            return Decision(action, reason, answer, puts, reroute, expires_in, max_uses)

        return await deciding.decide(call, target, decision)

    @mutation
    async def revoke_decision(
        self, info: Info, id: DecisionArgument, idempotency_key: Key = None
    ) -> BarrierPayload:
        """Take a decision back that was made ahead of time; what it has decided stays decided."""
        call = Call(info, "revokeDecision", {"id": id}, idempotency_key)
        return await deciding.revoke(call, id)
