"""The handle of a run: decide its barriers, hold it, let it go on, cancel it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from dipeo_server.domains.execution.checkpoint import Checkpoint
from dipeo_server.domains.execution.ids import BarrierID
from dipeo_server.domains.execution.interventions import BarrierAction, PauseMode
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    DecisionMade,
    PauseRequested,
    ResumeRequested,
    Signal,
)
from dipeo_server.executors.live import LiveRun
from dipeo_server.runtime.clock import SystemClock


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decides at a barrier; make one with `approve`, `reject`, `modify` …."""

    action: BarrierAction
    reason: str | None = None
    answer: Any = None
    puts: Mapping[str, Any] = field(default_factory=dict)
    target: str | None = None
    by: str | None = None

    @classmethod
    def approve(cls, answer: Any = None, *, by: str | None = None) -> Self:
        """Go on, with an answer where one is asked for."""
        return cls(BarrierAction.APPROVE, answer=answer, by=by)

    @classmethod
    def reject(cls, reason: str, *, by: str | None = None) -> Self:
        """Do not go on."""
        return cls(BarrierAction.REJECT, reason=reason, by=by)

    @classmethod
    def modify(cls, puts: Mapping[str, Any], *, by: str | None = None) -> Self:
        """Go on with these values in the state."""
        return cls(BarrierAction.MODIFY, puts=puts, by=by)

    @classmethod
    def reroute(cls, target: str, *, by: str | None = None) -> Self:
        """Go on at another node, to which an edge leads."""
        return cls(BarrierAction.REROUTE, target=target, by=by)

    @classmethod
    def skip(cls, reason: str | None = None, *, by: str | None = None) -> Self:
        """Pass over the barrier; that approves nothing."""
        return cls(BarrierAction.SKIP, reason=reason, by=by)


class RunHandle:
    """Tells one run what people want; dropping it tells nothing. Every answer is committed."""

    def __init__(self, run: LiveRun, ways: Mapping[tuple[str, str], str] | None = None) -> None:
        """`ways`: the edge by source and target, where several lead there."""
        self._run = run
        self._ways = ways or {}

    @property
    def run_id(self) -> str:
        """The id of the run: its thread id, its trace id."""
        return self._run.id

    async def decide(
        self,
        barrier: BarrierID | str,
        decision: Decision,
        *,
        expires_in: float | None = None,
        max_uses: int | None = None,
    ) -> None:
        """Decide a barrier that waits, or will be reached.

        A BarrierID is one visit of a node, decided once. A node's key alone is every visit from now
        on: `max_uses` bounds how many, and a decision on one visit goes before it. What waits
        already is decided at once. `expires_in` is in seconds.

        Raises AlreadyDecided with the winner, NotFound, InvalidInput, ExecutionFinished.
        """
        node = barrier if isinstance(barrier, str) else barrier.node
        expires_at = None
        if expires_in is not None:
            expires_at = SystemClock().now() + timedelta(seconds=expires_in)
        target = decision.target
        way = None if target is None else self._ways.get((node, target), target)
        await self.signal(
            DecisionMade(
                node,
                None if isinstance(barrier, str) else barrier.occurrence,
                decision.action,
                reason=decision.reason,
                answer=decision.answer,
                puts=decision.puts,
                reroute=way,
                expires_at=expires_at,
                max_uses=max_uses,
                actor=decision.by,
            )
        )

    async def cancel(self, reason: str | None = None) -> None:
        """End the run: what runs is cancelled, and no barrier is approved by it."""
        await self.signal(AbortRequested(reason))

    async def pause(self, reason: str | None = None, *, now: bool = False) -> None:
        """Start nothing more; what runs ends, or with `now` is cancelled and runs again later."""
        mode = PauseMode.NOW if now else PauseMode.DRAIN
        await self.signal(PauseRequested(mode, reason))

    async def resume(self, *, max_steps: int | None = None) -> None:
        """Go on after a pause; `max_steps` raises the limit that paused it."""
        await self.signal(ResumeRequested(max_steps))

    async def checkpoint(self) -> Checkpoint:
        """Keep the state as it is, before the next node starts, whatever the policy says.

        Where nothing has happened since the last checkpoint it is that one. Raises
        ExecutionFinished, InvalidState where none could be taken, StorageError.
        """
        return await self._run.checkpoint()

    async def signal(self, signal: Signal) -> None:
        """Tell the run anything that can be told. Raises Rejected (several), ExecutionFinished."""
        await self._run.signal(signal)
