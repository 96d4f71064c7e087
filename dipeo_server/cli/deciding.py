"""Deciding barriers from the command line: by `--answer`, by `--approve`, or by asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from dipeo_server.cli.assignments import Answers
from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.operations import APPROVE, REJECT
from dipeo_server.cli.outcome import tell
from dipeo_server.cli.policy import ApprovePolicy
from dipeo_server.cli.standing import WaitingBarrier
from dipeo_server.cli.terminal import Asker


@dataclass(frozen=True, slots=True)
class Approval:
    """Let it go on, with an answer where one is asked for."""

    answer: Any = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Do not let it go on."""

    reason: str


Decision: TypeAlias = Approval | Rejection

BY_OPTION: Final = "decided on the command line"
_APPROVING: Final = (True, "approve", "approved", "yes", "y")
_REJECTING: Final = (False, "reject", "rejected", "no", "n")


class Decider:
    """Decides what it can; `asker` is needed only where the policy is to ask."""

    def __init__(
        self, client: GraphQLClient, answers: Answers, policy: ApprovePolicy, asker: Asker
    ) -> None:
        self._client = client
        self._answers = answers
        self._policy = policy
        self._asker = asker

    async def decide(self, barrier: WaitingBarrier) -> bool:
        """Decide one barrier. False: it is left to somebody else, or the server refused it."""
        decision = self._known(barrier) or await self._asked(barrier)
        if decision is None:
            return False
        refusals = await self._send(barrier, decision)
        for refusal in refusals:
            tell(f"{barrier.key}: {refusal['message']}")
        return not refusals

    def _known(self, barrier: WaitingBarrier) -> Decision | None:
        for value in self._answers.find(barrier.key, barrier.label, barrier.occurrence):
            return Approval(answer=value) if barrier.wants_answer else decision_of(value)
        if self._policy is ApprovePolicy.AUTO and barrier.type == "BARRIER":
            return Approval(comment=BY_OPTION)
        return None

    async def _asked(self, barrier: WaitingBarrier) -> Decision | None:
        if self._policy is not ApprovePolicy.ASK:
            return None
        if barrier.wants_answer:
            answer = await self._asker.answer(barrier)
            return None if answer is None else Approval(answer=answer.value)
        verdict = await self._asker.approval(barrier)
        if verdict is None:
            return None
        if not verdict.is_approved:
            return Rejection(verdict.reason or "rejected on the terminal")
        return Approval(answer=verdict.answer, comment=verdict.reason)

    async def _send(self, barrier: WaitingBarrier, decision: Decision) -> list[dict[str, Any]]:
        """Why it was refused; somebody else's earlier decision is as good as ours."""
        match decision:
            case Approval(answer=answer, comment=comment):
                variables = {"id": barrier.id, "answer": answer, "comment": comment}
                payload = (await self._client.execute(APPROVE, variables))["approveBarrier"]
            case Rejection(reason=reason):
                variables = {"id": barrier.id, "reason": reason}
                payload = (await self._client.execute(REJECT, variables))["rejectBarrier"]
        settled = {"ALREADY_DECIDED", "INVALID_STATE"}
        return [error for error in payload["errors"] if error["code"] not in settled]


def decision_of(value: Any) -> Decision:
    """What `--answer NODE=VALUE` means for an approval: approve, reject, or approve with VALUE."""
    word = value.lower() if isinstance(value, str) else value
    # `1 == True` holds in Python, so the type is compared too.
    if any(word is each or (isinstance(word, str) and word == each) for each in _APPROVING):
        return Approval(comment=BY_OPTION)
    if any(word is each or (isinstance(word, str) and word == each) for each in _REJECTING):
        return Rejection(BY_OPTION)
    return Approval(answer=value, comment=BY_OPTION)
