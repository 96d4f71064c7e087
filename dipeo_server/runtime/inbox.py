"""What waits for an execution's actor, and one round of its loop: taken, decided, answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import Signal
from dipeo_server.domains.execution.state import ExecutionView


@dataclass(slots=True, eq=False)
class Told:
    """A signal in the inbox; `answer` is set where a client waits for the commit."""

    signal: Signal
    answer: asyncio.Future[Accepted] | None = None
    key: IdempotencyKey | None = None

    @property
    def is_of_a_client(self) -> bool:
        """Does somebody wait for an answer? What nodes tell has none, and may not get lost."""
        return self.answer is not None

    def accept(self, accepted: Accepted) -> None:
        """Answer a client who is still there."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(accepted)

    def refuse(self, error: Exception) -> None:
        """Refuse a client who is still there."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class Asked:
    """A reader in the inbox, who gets the state as of the last commit."""

    answer: asyncio.Future[ExecutionView]

    def show(self, view: ExecutionView) -> None:
        """Answer a reader who is still there."""
        if not self.answer.done():
            self.answer.set_result(view)

    def refuse(self, error: Exception) -> None:
        """Refuse a reader who is still there."""
        if not self.answer.done():
            self.answer.set_exception(error)


Item: TypeAlias = Told | Asked


@dataclass(slots=True, eq=False)
class Round:
    """One round of the loop, behind the event `tail`: what was taken, and what came of it.

    `told` has every signal of the round, in order; those that were refused are in `refused` as
    well, all others in `accepted` with the last event behind them.
    """

    tail: Seq
    told: list[Told] = field(default_factory=list)
    accepted: list[tuple[Told, Seq]] = field(default_factory=list)
    refused: list[tuple[Told, Exception]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)

    def refuse(self, error: Exception) -> None:
        """Refuse everybody who waits for this round."""
        for told in self.told:
            told.refuse(error)
        for asked in self.asked:
            asked.refuse(error)
