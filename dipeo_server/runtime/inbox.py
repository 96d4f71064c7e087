"""What waits for an execution's actor, and one round of its loop: taken, decided, answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from dipeo_server.domains.execution.checkpoint import TakenCheckpoint
from dipeo_server.domains.execution.events import Failure, Recorded
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import (
    BranchTold,
    NodeRaised,
    NodeReport,
    NodeReturned,
    Signal,
)
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import StorageError


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

    def instead(self, error: Exception) -> list[Signal]:
        """What to tell instead of a signal that cannot be recorded; else raises `error`."""
        match self:
            case Told(answer=None, signal=NodeReturned(node_run=run)):
                message = f"The result of {run.node!r} cannot be recorded: {error}"
                kind = type(error).__name__
                return [NodeRaised(run, Failure("INTERNAL", message, run.node, error_type=kind))]
            case Told(answer=None, signal=NodeReport() | BranchTold()):
                return []  # An early word; the result itself is still to come.
            case Told(answer=None):
                raise error
            case _:
                self.refuse(error)
                return []


@dataclass(slots=True, eq=False)
class Asked:
    """A reader in the inbox, who gets the state as of the last commit."""

    answer: asyncio.Future[ExecutionView]

    def show(self, view: ExecutionView | None) -> None:
        """Answer a reader who is still there; None: there is no such execution after all."""
        if view is None:
            self.refuse(StorageError("The execution could not be stored."))
        elif not self.answer.done():
            self.answer.set_result(view)

    def refuse(self, error: Exception) -> None:
        """Refuse a reader who is still there."""
        if not self.answer.done():
            self.answer.set_exception(error)


Item: TypeAlias = Told | Asked


@dataclass(slots=True, eq=False)
class Round:
    """What is committed and answered together, behind the event `tail`.

    `told` has every signal of the round, in order; those that were refused are in `refused` as
    well, all others in `accepted` with the last event behind them. `shown` is what readers get:
    the execution as it is once the round is durable.
    """

    tail: Seq
    told: list[Told] = field(default_factory=list)
    accepted: list[tuple[Told, Seq]] = field(default_factory=list)
    refused: list[tuple[Told, Exception]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)
    shown: ExecutionView | None = None
    checkpoints: list[TakenCheckpoint] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Is there nothing to commit and nobody to answer?"""
        return not (self.told or self.asked)

    @property
    def keyed(self) -> list[tuple[IdempotencyKey, Seq]]:
        """The idempotency keys to commit, and what they stand for."""
        return [(told.key, seq) for told, seq in self.accepted if told.key is not None]

    def followed_by(self, later: Round) -> Round:
        """Both as one: what neither of them is durable without."""
        return Round(
            self.tail,
            self.told + later.told,
            self.accepted + later.accepted,
            self.refused + later.refused,
            self.asked + later.asked,
            self.recorded + later.recorded,
            checkpoints=self.checkpoints + later.checkpoints,
        )

    def of_nodes(self) -> list[Told]:
        """The signals that may not get lost if the round cannot be committed."""
        refused = {id(told) for told, _ in self.refused}
        return [t for t in self.told if not t.is_of_a_client and id(t) not in refused]

    def refuse(self, error: Exception) -> None:
        """Refuse everybody who waits for this round."""
        for told in self.told:
            told.refuse(error)
        for asked in self.asked:
            asked.refuse(error)
