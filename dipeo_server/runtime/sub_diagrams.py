"""Child executions: started once per visit, found after a restart, ended with their parent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.events import Durability
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.ports import ChildResult, ChildRun
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.domains.execution.signals import AbortRequested
from dipeo_server.domains.execution.state import ExecutionView
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

    async def tell_abort(self, execution_id: ExecutionID, signal: AbortRequested) -> None:
        """End an execution."""
        ...

    async def loaded(self, envelope: Envelope) -> Envelope:
        """The envelope with its body, however large. Raises StorageError."""
        ...

    async def depth(self, execution_id: ExecutionID) -> int:
        """How many parents it has."""
        ...


class ChildExecutions:
    """The `SubDiagrams` port for one NodeRun."""

    def __init__(
        self,
        host: Host,
        load: LoadChild,
        parent: ExecutionID,
        visit: tuple[NodeRun, int, str | None],
        *,
        durability: Durability = Durability.ADAPTIVE,
    ) -> None:
        self._host = host
        self._load = load
        self._parent = parent
        self._durability = durability
        self._run, self._tries, self._path = visit

    async def run(self, child: ChildRun) -> ChildResult:
        """Start the child, or find it, and wait for its end."""
        child_id = child_execution_id(self._parent, self._run, self._tries, child.key)
        try:
            view = await self._outcome(child_id, child)
        except asyncio.CancelledError:
            # A server that stops leaves its children to the next one; anything else ends them.
            if not self._host.is_closing:
                await self._abort(child_id)
            raise
        except NodeError:
            raise
        except DipeoError as error:
            if self._host.is_closing:
                # No failure: this NodeRun is about to be cancelled, and the next server runs it.
                await asyncio.get_running_loop().create_future()
            message = f"The sub-diagram cannot run: {error.message}"
            raise ChildFailed(message, hint=error.hint) from error
        return await self._result(view)

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

    async def _outcome(self, child_id: ExecutionID, child: ChildRun) -> ExecutionView:
        """How the child ended; a store that fails for a while only delays that."""
        while True:
            try:
                return await self._ended_or_started(child_id, child)
            except StorageError as error:
                if error.is_lasting or self._host.is_closing:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _ended_or_started(self, child_id: ExecutionID, child: ChildRun) -> ExecutionView:
        try:
            return await self._host.ended(child_id)
        except NotFound:
            pass
        if await self._host.depth(self._parent) >= DEPTH_MAX:
            message = f"Sub-diagrams are nested more than {DEPTH_MAX} deep."
            raise ChildFailed(message, hint="Does a diagram run itself?")
        request = StartExecution(
            await self._load(child, self._path),
            child.variables,
            durability=self._durability,
            execution_id=child_id,
            parent_id=self._parent,
            parent=self._run,
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
        return ChildResult(view.id, view.status, bodies, last_body, _error(view))

    async def _abort(self, child_id: ExecutionID) -> None:
        signal = AbortRequested(reason="its parent ended", actor=None)
        try:
            await self._host.tell_abort(child_id, signal)
        except DipeoError:
            return  # It ended by itself, or was never started.


def _error(view: ExecutionView) -> Mapping[str, Any] | None:
    if view.error is None:
        return None
    return {"code": view.error.code, "message": view.error.message, "node": view.error.node}
