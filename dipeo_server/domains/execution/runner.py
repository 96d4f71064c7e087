"""What a runner offers to the API: start, tell, look, and follow executions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.checkpoint import CheckpointPolicy, CheckpointSettings
from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice, CheckpointStore
from dipeo_server.domains.execution.events import (
    Breakpoint,
    Budget,
    Durability,
    ErrorStrategy,
    GivenOutput,
    Recorded,
)
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.ports import ExecutionPage, ExecutionQuery, LogRecord
from dipeo_server.domains.execution.signals import Signal, StartRequested
from dipeo_server.domains.execution.state import ExecutionState, ExecutionView


@dataclass(frozen=True, slots=True)
class StartExecution:
    """A wish to run a compiled diagram; `max_steps` None = the engine's default.

    `diagram_id` and `revision` say where the diagram is stored; None and 0 for an inline one.
    `key` tells a child from others of the visit that starts it.
    """

    diagram: ExecutableDiagram
    variables: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    error_strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST
    durability: Durability = Durability.ADAPTIVE
    actor: str | None = None
    parent_id: ExecutionID | None = None
    parent: NodeRun | None = None
    execution_id: ExecutionID | None = None
    diagram_id: DiagramID | None = None
    revision: int = 0
    is_paused: bool = False
    breakpoints: tuple[Breakpoint, ...] = ()
    budget: Budget = field(default_factory=Budget)
    initial: Mapping[str, GivenOutput] = field(default_factory=dict)
    key: str | None = None
    checkpoints: CheckpointPolicy = ()
    checkpointing: CheckpointSettings = field(default_factory=CheckpointSettings)

    def signal(self, execution_id: ExecutionID) -> StartRequested:
        """The wish as the execution of that id is told it."""
        return StartRequested(
            execution_id,
            self.diagram,
            self.variables,
            max_steps=self.max_steps,
            error_strategy=self.error_strategy,
            durability=self.durability,
            actor=self.actor,
            parent=self.parent,
            parent_id=self.parent_id,
            diagram_id=self.diagram_id,
            revision=self.revision,
            is_paused=self.is_paused,
            breakpoints=self.breakpoints,
            budget=self.budget,
            initial=self.initial,
            key=self.key,
            checkpoints=self.checkpoints,
            checkpointing=self.checkpointing,
        )


@dataclass(frozen=True, slots=True)
class ForkExecution:
    """A wish to go on as another run from where `origin` was behind its event `at`.

    `variables` are set and `outputs` (JSON values by node key) taken as results before it does.
    With `diagram` it goes on with that, which was made from the graph that was run there.
    """

    origin: ExecutionID
    at: Seq
    variables: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    actor: str | None = None
    diagram: ExecutableDiagram | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key for one mutation; `request_hash` tells whether the arguments are the same.

    `attempt`: what the audit tells of it, in the transaction of what is done.
    """

    principal: str
    key: str
    mutation: str
    request_hash: str
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was committed: the execution and its last sequence behind the mutation.

    `is_repeat`: this key was answered before, and nothing was done again. `deleted`: how many
    checkpoints are gone by it.
    """

    execution_id: ExecutionID
    sequence: Seq
    is_repeat: bool = False
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """Something was committed: the first and the last event of the kinds that are watched."""

    execution_id: ExecutionID
    first: Seq
    last: Seq


class Runner(Protocol):
    """Runs executions; every answer is given after the commit."""

    async def start(self, request: StartExecution, key: IdempotencyKey | None = None) -> Accepted:
        """Accept a run durably, and run it.

        Raises InvalidInput, IdempotencyMismatch, StorageFull.
        """
        ...

    async def fork(self, request: ForkExecution, key: IdempotencyKey | None = None) -> Accepted:
        """Let another run go on from where one was, durably; that one does not change.

        Raises NotFound, InvalidInput, LimitExceeded, IdempotencyMismatch, StorageFull.
        """
        ...

    async def delete(
        self, execution_id: ExecutionID, key: IdempotencyKey | None = None
    ) -> Accepted:
        """Forget an execution that has ended, with all that ran below it, durably.

        Raises NotFound, InvalidState (it runs, is somebody's child, or forks go on from it),
        IdempotencyMismatch, StorageFull.
        """
        ...

    async def delete_checkpoints(
        self,
        execution_id: ExecutionID,
        choice: CheckpointChoice,
        key: IdempotencyKey | None = None,
    ) -> Accepted:
        """Forget checkpoints of an execution; those that are gone already are no matter.

        Raises NotFound, IdempotencyMismatch, StorageFull.
        """
        ...

    async def answered(self, key: IdempotencyKey | None) -> Accepted | None:
        """What the key was answered before, or None. Raises IdempotencyMismatch."""
        ...

    async def signal(
        self, execution_id: ExecutionID, signal: Signal, key: IdempotencyKey | None = None
    ) -> Accepted:
        """Tell an execution something. Raises NotFound, Rejected (several), IdempotencyMismatch."""
        ...

    async def view(self, execution_id: ExecutionID) -> ExecutionView | None:
        """The execution as of its last committed event; None for an unknown id."""
        ...

    def events(self, execution_id: ExecutionID, *, after: Seq = Seq(0)) -> AsyncIterator[Recorded]:
        """(after, now], then live; ends behind the terminal event. Raises NotFound at once."""
        ...

    def watching(self, kinds: tuple[type, ...]) -> AbstractContextManager[AsyncIterator[Commit]]:
        """Where events of these types are committed, in any execution, from now on.

        Commits of one execution that nobody has taken yet become one; nothing is told twice.
        """
        ...

    async def read_events(
        self, execution_id: ExecutionID, *, after: Seq, limit: int
    ) -> Sequence[Recorded]:
        """One page of committed events."""
        ...

    async def past(self, execution_id: ExecutionID, upto: Seq) -> ExecutionState | None:
        """The state behind an event, or behind the last one before it; None for an unknown id."""
        ...

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where the states of executions are kept."""
        ...

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """One page of executions, newest first."""
        ...

    async def read_logs(
        self, execution_id: ExecutionID, *, after: int, limit: int, node: str | None
    ) -> Sequence[LogRecord]:
        """One page of log lines."""
        ...

    def follow_logs(
        self, execution_id: ExecutionID, *, after: int = 0, node: str | None = None
    ) -> AsyncIterator[LogRecord]:
        """Log lines behind the cursor `after`, then live; ends behind the last one of the run.

        Without gap or duplicate, in the order of the cursors; a slow reader slows nobody. Raises
        NotFound at once, Unavailable where the execution is not served (any more).
        """
        ...
