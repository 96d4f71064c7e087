"""Perform one command: build the handler's context, call it, and turn any ending into a signal."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, TypeAlias

import structlog
from pydantic import ValidationError

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.context import (
    BranchSink,
    ExecutionContext,
    NodeReporter,
    Services,
    Visit,
)
from dipeo_server.domains.execution.events import (
    BranchCompleted,
    Failure,
    ParallelCompleted,
    ParallelStarted,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.machine.results import body_of
from dipeo_server.domains.execution.output import (
    HandlerResult,
    NodeOutput,
    having_spent,
    leaving,
)
from dipeo_server.domains.execution.registry import HandlerRegistry, Registration
from dipeo_server.domains.execution.resolver import resolve
from dipeo_server.domains.execution.signals import (
    BranchTold,
    NodePutOff,
    NodeRaised,
    NodeReport,
    NodeReturned,
    Signal,
)
from dipeo_server.domains.execution.state import ExecutionState, InputRef
from dipeo_server.domains.execution.status import NodeExecutionStatus
from dipeo_server.errors import DipeoError, NodeError
from dipeo_server.runtime.bodies import Bodies, LoadedOutputs
from dipeo_server.runtime.logbook import LogBook
from dipeo_server.runtime.plain_json import plain_json, plain_output, plain_result

log = structlog.get_logger(__name__)

MESSAGE_CHARACTERS_MAX = 16 * 1024


_Work: TypeAlias = tuple[ExecutableDiagram, ExecutableNode, tuple[InputRef, ...]]
"""A node to run in its diagram, and what it was given."""


@dataclass(frozen=True, slots=True)
class ConcurrencyLimits:
    """How many handlers run at once: over all executions, and per node type."""

    total: int = 256
    per_type: Mapping[str, int] = field(default_factory=dict)


class ServicesFor(Protocol):
    """Gives the ports for one NodeRun (children belong to it)."""

    def __call__(self, state: ExecutionState, run: NodeRun) -> Services:
        """The ports, with everything of the run and the visit that they need."""
        ...


class Post(Protocol):
    """Puts a signal into the execution's inbox."""

    def __call__(self, signal: Signal) -> None:
        """Never blocks."""
        ...


class Performer:
    """Runs handlers, within the limits of the process."""

    def __init__(
        self,
        registry: HandlerRegistry,
        services: ServicesFor,
        logbook: LogBook,
        bodies: Bodies,
        limits: ConcurrencyLimits,
        holds_of: Callable[[ExecutionID], int],
    ) -> None:
        """`holds_of` tells how often an execution was paused, as far as is committed."""
        self._holds_of = holds_of
        self._registry = registry
        self._services = services
        self._logbook = logbook
        self._redactor = logbook.redactor
        self._bodies = bodies
        self._slots = asyncio.Semaphore(limits.total)
        self._places = {
            type_: _Place(asyncio.Semaphore(count), self._slots)
            for type_, count in limits.per_type.items()
        }

    async def run(self, state: ExecutionState, run: NodeRun, holds: int, post: Post) -> Signal:
        """The NodeRun's outcome; only our own cancellation leaves this as an exception.

        `holds`: how often the execution had been paused when this was due. No secret that is known
        is in it, nor in what is posted.
        """
        redact = self._redactor.parts
        return redact(await self._outcome(state, run, holds, lambda told: post(redact(told))))

    async def _outcome(self, state: ExecutionState, run: NodeRun, holds: int, post: Post) -> Signal:
        # Taken now: by the time there is a place for it, the graph may have been changed.
        diagram = state.diagram
        node = diagram.get_node(run.node)
        refs = state.inputs.get(node.index, ())
        entry = self._registry.get(node.type)
        if entry is None:
            return NodeRaised(run, _unavailable(node))
        context: ExecutionContext | None = None
        try:
            async with self._place(entry):
                context = await self._context(state, (diagram, node, refs), run, post)
                if self._holds_of(state.id) > holds:
                    return NodePutOff(run)  # It waited for a place, and somebody paused the run.
                result = await _call(entry, node, context)
            return await self._returned(node, run, result, context)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            # Something that the handler waited for was cancelled, not the handler itself.
            return self._raised(error, node, run, context)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - any ending becomes a signal.
            return self._raised(error, node, run, context)

    def _raised(
        self,
        error: BaseException,
        node: ExecutableNode,
        run: NodeRun,
        context: ExecutionContext | None,
    ) -> Signal:
        failure = failure_of(error, node, run, self._redactor.text)
        if context is None:
            return NodeRaised(run, failure)
        return NodeRaised(run, failure, context.spent, _observed(context))

    def _place(self, entry: Registration) -> AbstractAsyncContextManager[object]:
        """A place to run in; what only waits for others (sub-diagrams) holds none."""
        if not entry.spec.holds_slot:
            return nullcontext()
        return self._places.get(entry.spec.type, self._slots)

    async def _context(
        self, state: ExecutionState, work: _Work, run: NodeRun, post: Post
    ) -> ExecutionContext:
        diagram, node, given = work
        refs = await self._bodies.of_inputs(given)
        resolved = resolve(diagram, refs)
        visit = Visit(
            node_run=run,
            node=node,
            inputs=resolved.inputs,
            input_envelopes=resolved.envelopes,
            services=self._services(state, run),
            state_store=_Reporter(state.id, run, post),
            log=self._logbook.writer(state.id, run),
            executed=_ExecutedBefore(state.executed, run.node),
            conversation=state.conversation,
            tell_branch=_branch_sink(run, post),
        )
        return ExecutionContext(
            diagram,
            state.id,
            node_outputs=LoadedOutputs(state.outputs, self._bodies),
            variables=MappingProxyType(state.variables),
            visit=visit,
        )

    async def _returned(
        self, node: ExecutableNode, run: NodeRun, result: object, context: ExecutionContext
    ) -> Signal:
        """The outcome as plain JSON of its own, so that what runs on is what a replay would see."""
        if not isinstance(result, HandlerResult):
            return NodeRaised(run, _no_result(node, result), observed=_observed(context))
        deltas = tuple(replace(d, puts=plain_json(dict(d.puts))) for d in context.deltas)
        plain = self._redactor.parts(plain_result(having_spent(result, context.spent)))
        blob: BlobRef | None = None
        output = leaving(plain)
        if output is not None:
            blob = await self._bodies.put_if_large(body_of(node, output)[0])
        return NodeReturned(run, plain, deltas, _observed(context), blob)


class _Place:
    """A place among those of a type, and then among all."""

    def __init__(self, of_type: asyncio.Semaphore, of_all: asyncio.Semaphore) -> None:
        self._of_type = of_type
        self._of_all = of_all

    async def __aenter__(self) -> None:
        await self._of_type.acquire()
        try:
            await self._of_all.acquire()
        except BaseException:
            self._of_type.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._of_all.release()
        self._of_type.release()


class _ExecutedBefore(Mapping[str, int]):
    """How often each node was executed, this visit not counted; live and read-only."""

    def __init__(self, executed: Mapping[str, int], this: str) -> None:
        self._executed = executed
        self._this = this

    def __getitem__(self, key: str) -> int:
        return self._executed[key] - (key == self._this)

    def __iter__(self) -> Iterator[str]:
        return iter(self._executed)

    def __len__(self) -> int:
        return len(self._executed)


class _Reporter(NodeReporter):
    def __init__(self, execution_id: ExecutionID, run: NodeRun, post: Post) -> None:
        self._id = execution_id
        self._run = run
        self._post = post

    async def update_node_status(
        self,
        execution_id: str,
        node_id: str,
        status: NodeExecutionStatus,
        output: NodeOutput | None = None,
    ) -> None:
        if (execution_id, node_id) != (self._id, self._run.node):
            message = f"A handler reports its own node {self._run.node!r} only, not {node_id!r}."
            raise NodeError(message)
        if status is NodeExecutionStatus.COMPLETED and output is not None:
            self._post(NodeReport(self._run, plain_output(output)))


def _branch_sink(run: NodeRun, post: Post) -> BranchSink:
    def tell(event: ParallelStarted | BranchCompleted | ParallelCompleted) -> None:
        if isinstance(event, BranchCompleted) and event.failure is not None:
            failure = replace(event.failure, message=readable(event.failure.message))
            event = replace(event, failure=failure)
        post(BranchTold(run, event))

    return tell


async def _call(
    entry: Registration, node: ExecutableNode, context: ExecutionContext
) -> HandlerResult:
    props = entry.spec.props.model_validate(node.props)
    domain_node = DomainNode(
        key=node.key,
        id=node.key,
        type=node.type,
        label=node.label,
        props=props,
        position=node.position,
    )
    if node.timeout is None:
        return await entry.handler(domain_node, context)
    try:
        async with asyncio.timeout(node.timeout) as limit:
            return await entry.handler(domain_node, context)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(f"{node.key!r} did not end within {node.timeout:g} s.") from error


def _observed(context: ExecutionContext) -> tuple[Failure, ...]:
    return tuple(replace(each, message=readable(each.message)) for each in context.observed)


def failure_of(
    error: BaseException, node: ExecutableNode, run: NodeRun, clean: Callable[[str], str] = str
) -> Failure:
    """The typed failure of an exception that left a handler; `clean` takes secrets out of it."""
    kind = type(error).__name__
    if isinstance(error, DipeoError):
        message, hint = readable(clean(error.message)), readable(clean(error.hint or "")) or None
        retryable = isinstance(error, NodeError) and error.retryable
        return Failure(error.code, message, node.key, retryable, hint, kind)
    if isinstance(error, TimeoutError):
        message = (
            readable(clean(str(error))) or f"Something that {node.key!r} waited for took too long."
        )
        return Failure("TIMEOUT", message, node.key, retryable=True, error_type=kind)
    if isinstance(error, asyncio.CancelledError):
        message = f"Something that {node.key!r} waited for was cancelled."
        return Failure("CANCELLED", message, node.key, error_type=kind)
    if isinstance(error, ValidationError):
        message = readable(f"The props of {node.key!r} are invalid: {error}")
        return Failure("INTERNAL", message, node.key, error_type=kind)
    shown = clean("".join(traceback.format_exception(error)))
    log.warning("handler_raised", node=node.key, run=str(run), exception=shown)
    message = readable(clean(f"{kind}: {error}"))
    return Failure("INTERNAL", message, node.key, error_type=kind)


def readable(text: str) -> str:
    """The text as any client can take it: no half characters, and of a bearable length."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    if len(whole) <= MESSAGE_CHARACTERS_MAX:
        return whole
    return f"{whole[:MESSAGE_CHARACTERS_MAX]}… ({len(whole):,} characters)"


def _unavailable(node: ExecutableNode) -> Failure:
    message = f"This server has no handler for node type {node.type!r}."
    hint = "Install a handler for it, or take the node out."
    return Failure("NODE_TYPE_UNAVAILABLE", message, node.key, hint=hint)


def _no_result(node: ExecutableNode, result: object) -> Failure:
    message = f"The handler of {node.type!r} returned {type(result).__name__}, not a NodeOutput."
    return Failure("INTERNAL", message, node.key, hint="Build it with create_node_output.")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
