"""Stories in which people decide ahead of time: questions, and the book of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierResolved,
    EarlyDecisionChanged,
    ErrorStrategy,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.interventions import EarlyDecision
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import WaitForPerson
from dipeo_server.domains.execution.signals import (
    DecisionMade,
    DecisionRevoked,
    NodeReturned,
    StartRequested,
)
from dipeo_server.domains.execution.state import BarrierRecord
from tests.builders import NOON, Story, diagram


class Book(Story):
    """A story whose nodes named u* are questions to users."""

    def __init__(
        self,
        text: str,
        *,
        variables: Mapping[str, Any] | None = None,
        strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST,
        **options: Any,
    ) -> None:
        self.now = NOON
        self.machine = ExecutionMachine()
        self.log: list[Recorded] = []
        self.begun = self.tell(
            StartRequested(
                ExecutionID("x"),
                _with_questions(diagram(text, **options)),
                variables or {},
                error_strategy=strategy,
            )
        )

    def early(
        self,
        node: str,
        action: BarrierAction = BarrierAction.APPROVE,
        *,
        occurrence: int | None = None,
        expires_in: float | None = None,
        actor: str | None = "ann",
        **decision: Any,
    ) -> list[str]:
        """Somebody decides ahead of time."""
        expires_at = None if expires_in is None else self.now + timedelta(seconds=expires_in)
        return self.tell(
            DecisionMade(node, occurrence, action, expires_at=expires_at, actor=actor, **decision)
        )

    def revokes(self, decision: str, actor: str | None = "bob") -> list[str]:
        """Somebody takes a decision back."""
        return self.tell(DecisionRevoked(decision, actor))

    def asks_with(self, key: str, puts: Mapping[str, Any], **wish: Any) -> list[str]:
        """A running node changes variables and then wants to wait for a person."""
        result = WaitForPerson("approval", f"{key}?", **wish)
        return self.tell(NodeReturned(self.run_of(key), result, (StateDelta(puts),)))

    @property
    def book(self) -> dict[str, EarlyDecision]:
        """The decisions that can still be used."""
        return self.state.early_decisions

    @property
    def changes(self) -> list[tuple[str, str, int | None]]:
        """What became of decisions: which, what, at which occurrence."""
        told = [each.event for each in self.log if isinstance(each.event, EarlyDecisionChanged)]
        return [(event.decision_id, event.change, event.occurrence) for event in told]

    @property
    def resolutions(self) -> list[BarrierResolved]:
        """How barriers were resolved, in order."""
        return [each.event for each in self.log if isinstance(each.event, BarrierResolved)]

    def barrier(self, key: str, occurrence: int = 1) -> BarrierRecord:
        """The newest barrier of a visit."""
        found = [
            record
            for record in self.state.barriers.values()
            if (record.id.node, record.id.occurrence) == (key, occurrence)
        ]
        return found[-1]


def _with_questions(compiled: ExecutableDiagram) -> ExecutableDiagram:
    nodes = tuple(
        replace(node, type="user_response") if node.key.startswith("u") else node
        for node in compiled.nodes
    )
    return replace(compiled, nodes=nodes)


def assert_replays(story: Story) -> None:
    """Folding the log gives the live state."""
    story.state.touched.clear()
    again = ExecutionMachine.replay(story.log)
    again.take_changes()
    assert again.state == story.state
