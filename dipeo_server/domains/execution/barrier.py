"""Barriers: what can be refused about a decision, and what a decision means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.state import BarrierRecord
from dipeo_server.domains.execution.status import BarrierStatus
from dipeo_server.errors import AlreadyDecided, InvalidInput

OUTCOME: Mapping[BarrierAction, BarrierStatus] = {
    BarrierAction.APPROVE: BarrierStatus.APPROVED,
    BarrierAction.REJECT: BarrierStatus.REJECTED,
    BarrierAction.SKIP: BarrierStatus.SKIPPED,
    BarrierAction.MODIFY: BarrierStatus.MODIFIED,
    BarrierAction.REROUTE: BarrierStatus.REROUTED,
}


class BarrierAlreadyDecided(AlreadyDecided):
    """The first committed decision won; `winner` is the barrier as it was decided."""

    def __init__(self, winner: BarrierRecord) -> None:
        who = f" by {winner.decided_by}" if winner.decided_by else ""
        super().__init__(
            f"Barrier {winner.id.node!r} #{winner.id.occurrence} was already decided{who}: "
            f"{winner.status}."
        )
        self.winner = winner


def check_answer(record: BarrierRecord, action: BarrierAction, answer: Any) -> None:
    """Raises InvalidInput where an approval's answer is missing or does not fit the schema."""
    if action is not BarrierAction.APPROVE or record.purpose == "rerun":
        return
    if record.purpose == "answer" and answer is None:
        message = f"{record.id.node!r} asks a question, so approving it needs an answer."
        raise InvalidInput(message, field=("answer",), hint="Pass `answer`.")
    if record.answer_schema is None or (answer is None and record.purpose == "approval"):
        return
    try:
        # An empty registry: a schema may not make the server fetch anything.
        jsonschema.validate(answer, dict(record.answer_schema), registry=Registry())
    except ValidationError as problem:
        place = "/".join(str(part) for part in problem.absolute_path) or "(the whole answer)"
        message = f"The answer does not fit the barrier's schema at {place}: {problem.message}"
        raise InvalidInput(message, field=("answer",)) from problem
    except (SchemaError, Unresolvable) as problem:
        message = f"The barrier's answer schema is itself invalid: {problem}"
        raise InvalidInput(message, field=("answer",)) from problem


def decision_variable(status: BarrierStatus, reason: str | None, answer: Any) -> dict[str, Any]:
    """The value of the barrier's variable: `<name>.approved`, `.reject_reason`, `.skipped`."""
    is_approved = status in {BarrierStatus.APPROVED, BarrierStatus.MODIFIED}
    return {
        "approved": is_approved,
        "reject_reason": reason if status is BarrierStatus.REJECTED else None,
        "skipped": status is BarrierStatus.SKIPPED,
        "answer": answer,
    }
