"""Child executions: started once per visit, found after a restart, ended with their parent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.checkpoint import CheckpointPolicy, CheckpointSettings
from dipeo_server.domains.execution.children import BranchEnd, ChildResult, ChildRun
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import Durability, ExecutionStarted, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.signals import AbortRequested, Signal
from dipeo_server.domains.execution.state import ExecutionState, ExecutionView
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.errors import DipeoError, NodeError, NotFound, StorageError
from dipeo_server.runtime.identity import child_execution_id

LoadChild = Callable[[ChildRun, str | None], Awaitable[ExecutableDiagram]]
"""Reads and compiles a child: the wish, and the parent's path. Raises NodeError."""

DEPTH_MAX = 50
RETRY_SECONDS = 1.0


class ChildFailed(NodeError):
    """A child execution could not be started, or is not served any more."""

    code = "CHILD_FAILED"


class Host(Protocol):
    """The runner, as children need it."""

    @property
    def is_closing(self) -> bool:
        """Is the process stopping?"""
        ...

    async def start_child(self, request: StartExecution) -> ExecutionID:
        """Start an execution under the id that the request names, if that has not been done."""
        ...

    async def ended(self, execution_id: ExecutionID) -> ExecutionView:
        """The execution, once it has ended. Raises NotFound."""
        ...

    async def tell_child(self, execution_id: ExecutionID, signal: Signal) -> None:
        """Tell a child what its parent does."""
        ...

    def free_child(self, execution_id: ExecutionID, parent: ExecutionID) -> None:
        """Let a child go on that was held with its parent."""
        ...

    def is_put_off(self, parent: ExecutionID, run: NodeRun) -> bool:
        """Was this visit stopped to run again later, so that its children are to be kept?"""
        ...

    async def loaded(self, envelope: Envelope) -> Envelope:
        """The envelope with its body, however large. Raises StorageError."""
        ...

    async def read_events(
        self, execution_id: ExecutionID, *, after: Seq, limit: int
    ) -> Sequence[Recorded]:
        """One page of committed events. Raises StorageError."""
        ...

    async def depth(self, execution_id: ExecutionID) -> int:
        """How many parents it has."""
        ...


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a child has of its parent: how durable it is, and when its state is kept."""

    durability: Durability = Durability.ADAPTIVE
    checkpoints: CheckpointPolicy = ()
    checkpointing: CheckpointSettings = field(default_factory=CheckpointSettings)

    @classmethod
    def of(cls, parent: ExecutionState) -> Self:
        """What children of this run have of it."""
        return cls(parent.durability, parent.checkpoint_policy, parent.checkpointing)


class ChildExecutions:
    """The `SubDiagrams` port for one NodeRun."""

    def __init__(
        self,
        host: Host,
        load: LoadChild,
        parent: ExecutionID,
        visit: tuple[NodeRun, int, str | None],
        inherited: Inherited | None = None,
    ) -> None:
        self._host = host
        self._load = load
        self._parent = parent
        self._inherited = inherited or Inherited()
        self._run, self._tries, self._path = visit

    async def run(self, child: ChildRun) -> ChildResult:
        """Start the child, or find it, and wait for its end."""
        try:
            view = await self._awaited(child)
        except asyncio.CancelledError:
            # A server that stops leaves its children to the next one, a visit that was put off to
            # its next attempt; anything else ends them.
            is_kept = self._host.is_closing or self._host.is_put_off(self._parent, self._run)
            if not is_kept:
                await self._abort(self._id_of(child))
            raise
        return await self._result(view)

    async def _awaited(self, child: ChildRun, *, may_start: bool = True) -> ExecutionView:
        try:
            return await self._outcome(child, may_start=may_start)
        except NodeError:
            raise
        except DipeoError as error:
            if self._host.is_closing:
                # No failure: this NodeRun is about to be cancelled, and the next server runs it.
                await asyncio.get_running_loop().create_future()
            if isinstance(error, NotFound) and not may_start:
                raise
            message = f"The sub-diagram cannot run: {error.message}"
            raise ChildFailed(message, hint=error.hint) from error

    async def run_many(
        self, children: Sequence[ChildRun], *, max_concurrent: int
    ) -> list[ChildResult | NodeError]:
        """Run each child; the first ones first, and each as soon as there is room for it."""
        ends: dict[int, ChildResult | NodeError] = {}
        waiting = iter(enumerate(children))

        async def run_next() -> None:
            for index, child in waiting:
                try:
                    ends[index] = await self.run(child)
                except NodeError as error:
                    ends[index] = error

        async with asyncio.TaskGroup() as tasks:
            for number in range(min(max_concurrent, len(children))):
                tasks.create_task(run_next(), name=f"children-{number}")
        return [ends[index] for index in range(len(children))]

    async def run_branches(
        self,
        branches: Sequence[ChildRun],
        tell: Callable[[int, BranchEnd], None],
        *,
        max_concurrent: int,
        is_fail_fast: bool,
    ) -> None:
        """Run each branch; the first failure may end the others, which are awaited all the same."""
        waiting = iter(enumerate(branches))
        begun: set[int] = set()
        told: set[int] = set()
        runners: list[asyncio.Task[None]] = []

        async def run_next() -> None:
            for index, branch in waiting:
                begun.add(index)
                end = await self._branch_end(self.run(branch))
                told.add(index)
                tell(index, end)
                if is_fail_fast and not end.is_good:
                    _cancel_others(runners)
                    return

        async with asyncio.TaskGroup() as tasks:
            runners += [
                tasks.create_task(run_next(), name=f"branches-{number}")
                for number in range(min(max_concurrent, len(branches)))
            ]
        for index in sorted(set(range(len(branches))) - told):
            branch = branches[index]
            if index not in begun:  # An earlier life may have begun it.
                await self._abort(self._id_of(branch))
            with suppress(NotFound):
                tell(index, await self._branch_end(self._stopped(branch)))

    async def _branch_end(self, run: Awaitable[ChildResult]) -> BranchEnd:
        """How the branch ended, with what it began with: it may have been found, not started."""
        try:
            result = await run
            return BranchEnd(result, await self._began_with(result.execution_id))
        except NodeError as error:
            return BranchEnd(error)

    async def _stopped(self, branch: ChildRun) -> ChildResult:
        """A branch that was aborted, once it has ended."""
        return await self._result(await self._awaited(branch, may_start=False))

    async def _began_with(self, child_id: ExecutionID) -> Mapping[str, Any]:
        first = await self._host.read_events(child_id, after=Seq(0), limit=1)
        event = first[0].event if first else None
        return event.variables if isinstance(event, ExecutionStarted) else {}

    def _id_of(self, child: ChildRun) -> ExecutionID:
        return child_execution_id(self._parent, self._run, self._tries, child.key)

    async def _outcome(self, child: ChildRun, *, may_start: bool) -> ExecutionView:
        """How the child ended; a store that fails for a while only delays that."""
        while True:
            try:
                return await self._ended_or_started(child, may_start=may_start)
            except StorageError as error:
                if error.is_lasting or self._host.is_closing:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _ended_or_started(self, child: ChildRun, *, may_start: bool) -> ExecutionView:
        child_id = self._id_of(child)
        if may_start:
            self._host.free_child(child_id, self._parent)
        try:
            return await self._host.ended(child_id)
        except NotFound:
            if not may_start:
                raise
        if await self._host.depth(self._parent) >= DEPTH_MAX:
            message = f"Sub-diagrams are nested more than {DEPTH_MAX} deep."
            raise ChildFailed(message, hint="Does a diagram run itself?")
        diagram = await self._load(child, self._path)
        if child.reducers:
            diagram = replace(diagram, reducers={**child.reducers, **diagram.reducers})
        request = StartExecution(
            diagram,
            child.variables,
            durability=self._inherited.durability,
            checkpoints=self._inherited.checkpoints,
            checkpointing=self._inherited.checkpointing,
            execution_id=child_id,
            parent_id=self._parent,
            parent=self._run,
            key=child.key,
        )
        await self._host.start_child(request)
        return await self._host.ended(child_id)

    async def _result(self, view: ExecutionView) -> ChildResult:
        """A child's outputs: by endpoint, and of the node that ended last."""
        outputs: dict[str, Envelope] = {}
        last: Envelope | None = None
        last_at = None
        for node, state in zip(view.diagram.nodes, view.nodes, strict=True):
            if state.status is not NodeExecutionStatus.COMPLETED or state.output is None:
                continue
            if node.is_endpoint:
                outputs[node.key] = state.output
            if last_at is None or (state.ended_at is not None and state.ended_at >= last_at):
                last, last_at = state.output, state.ended_at
        bodies = {key: (await self._host.loaded(output)).body for key, output in outputs.items()}
        last_body = None if last is None else (await self._host.loaded(last)).body
        return ChildResult(
            view.id,
            view.status,
            bodies,
            last_body,
            _error(view),
            variables=view.variables,
            began_at=view.created_at,
            ended_at=view.ended_at,
            token_usage=view.token_usage,
        )

    async def _abort(self, child_id: ExecutionID) -> None:
        signal = AbortRequested(reason="its parent ended", actor=None)
        try:
            await self._host.tell_child(child_id, signal)
        except DipeoError:
            return  # It ended by itself, or was never started.


def _cancel_others(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task is not asyncio.current_task():
            task.cancel()


def _error(view: ExecutionView) -> Mapping[str, Any] | None:
    if view.error is None:
        return None
    return {"code": view.error.code, "message": view.error.message, "node": view.error.node}
