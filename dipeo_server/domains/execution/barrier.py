"""Barriers: what can be refused about a decision, and what a decision means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from dipeo_server.domains.diagram.executable import (
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
)
from dipeo_server.domains.diagram.nearest import listed
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

_A = BarrierAction
_ACTIONS: Mapping[str, tuple[BarrierAction, ...]] = {
    "approval": tuple(BarrierAction),
    "answer": (_A.APPROVE, _A.REJECT, _A.MODIFY, _A.REROUTE),
    "rerun": (_A.APPROVE, _A.REJECT, _A.MODIFY),
}
_ASKS: Mapping[str, str] = {
    "approval": "asks for an approval",
    "answer": "asks a question",
    "rerun": "asks whether to run again",
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


class EdgeNotFound(InvalidInput):
    """A decision sends a run along an edge that does not exist, or not just one does."""

    code = "MISSING_EDGE"


class Decision(Protocol):
    """What somebody decides, of a barrier that waits or ahead of time."""

    @property
    def action(self) -> BarrierAction:
        """What is decided."""
        ...

    @property
    def answer(self) -> Any:
        """What goes with an approval, or answers a question; a JSON value."""
        ...

    @property
    def puts(self) -> Mapping[str, Any]:
        """Execution variables that change with it."""
        ...

    @property
    def reroute(self) -> str | None:
        """The edge to follow, by its key or by the node that it leads to."""
        ...


def check_decision(
    diagram: ExecutableDiagram, node: ExecutableNode, purpose: str, decision: Decision
) -> None:
    """Raises InvalidInput, EdgeNotFound for what no barrier of this node could take.

    `purpose` is "approval", "answer" or "rerun".
    """
    action = decision.action
    if action not in _ACTIONS[purpose]:
        message = f"{node.key!r} {_ASKS[purpose]}, so it cannot be decided with {action}."
        hint = f"Possible are: {', '.join(_ACTIONS[purpose])}."
        raise InvalidInput(message, field=("action",), hint=hint)
    if action is BarrierAction.REROUTE:
        rerouted_edge(diagram, node, decision.reroute)
    elif decision.reroute is not None:
        message = f"`reroute` goes with REROUTE, not with {action}."
        raise InvalidInput(message, field=("reroute",))
    if purpose == "rerun":
        return
    if action is BarrierAction.MODIFY and not decision.puts:
        hint = "Pass the variables to change, or APPROVE."
        raise InvalidInput("MODIFY changes variables.", field=("variables",), hint=hint)
    is_answer = purpose == "answer" and action in {BarrierAction.APPROVE, BarrierAction.MODIFY}
    if is_answer and decision.answer is None:
        message = f"{node.key!r} asks a question, so approving it needs an answer."
        raise InvalidInput(message, field=("answer",), hint="Pass `answer`.")


def check_answer(record: BarrierRecord, decision: Decision) -> None:
    """Raises InvalidInput where an answer does not fit the schema of the barrier that waits."""
    if decision.answer is None or record.purpose == "rerun" or record.answer_schema is None:
        return
    if decision.action in {BarrierAction.REJECT, BarrierAction.SKIP}:
        return
    misfit = answer_misfit(record.answer_schema, decision.answer)
    if misfit is not None:
        raise InvalidInput(misfit, field=("answer",))


def answer_misfit(schema: Mapping[str, Any], answer: Any) -> str | None:
    """Why an answer does not fit a JSON schema, or None."""
    try:
        # An empty registry: a schema may not make the server fetch anything.
        jsonschema.validate(answer, dict(schema), registry=Registry())
    except ValidationError as problem:
        place = "/".join(str(part) for part in problem.absolute_path) or "(the whole answer)"
        return f"The answer does not fit the barrier's schema at {place}: {problem.message}"
    except (SchemaError, Unresolvable, RecursionError, re.error) as problem:
        return f"The barrier's answer schema is itself invalid: {problem}"
    return None


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Why no answer can be held against this JSON schema, or None."""
    try:
        validator_for(schema).check_schema(dict(schema))
    except SchemaError as problem:
        place = "/".join(str(part) for part in problem.absolute_path) or "its root"
        return f"no JSON schema at {place}: {problem.message}"
    except RecursionError:
        return "no JSON schema: it is nested too deeply"
    return None


def rerouted_edge(
    diagram: ExecutableDiagram, node: ExecutableNode, name: str | None
) -> ExecutableEdge:
    """The outgoing edge with that key, or the only one to the node with that key.

    Raises EdgeNotFound, naming the edges there are.
    """
    edges = [diagram.edges[index] for index in node.outgoing]
    by_key = [edge for edge in edges if edge.key == name]
    leading = by_key or [edge for edge in edges if diagram.nodes[edge.target].key == name]
    if len(leading) == 1:
        return leading[0]
    if name is None:
        message = f"REROUTE needs `reroute`: which edge of {node.key!r} to follow."
    elif leading:
        message = f"{len(leading)} edges lead from {node.key!r} to {name!r}: name one by its key."
    else:
        message = f"No edge leads from {node.key!r} to {name!r}."
    there = listed(f"{edge.key} (to {diagram.nodes[edge.target].key})" for edge in leading or edges)
    raise EdgeNotFound(message, field=("reroute",), hint=f"Its edges are: {there}.")


def decision_variable(status: BarrierStatus, reason: str | None, answer: Any) -> dict[str, Any]:
    """The value of the barrier's variable: `<name>.approved`, `.reject_reason`, `.skipped`."""
    is_approved = status in {BarrierStatus.APPROVED, BarrierStatus.MODIFIED}
    return {
        "approved": is_approved,
        "reject_reason": reason if status is BarrierStatus.REJECTED else None,
        "skipped": status is BarrierStatus.SKIPPED,
        "answer": answer,
    }
