"""Plain async functions as nodes: what they are called with, and what their results become."""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.output import (
    End,
    Fallback,
    Goto,
    HandlerResult,
    NodeOutput,
    create_node_output,
)
from dipeo_server.domains.execution.registry import AnyHandler, Registration
from dipeo_server.errors import DipeoError, InvalidInput, NodeError
from dipeo_server.executors.secret_values import Secrets

PREFIX: Final = "function:"
"""Node types that are functions of one executor begin with it."""

START: Final = "__start__"
"""The key of the start that is added to a graph, and of what comes from there."""


class NodeCall:
    """What a function is called with: its node, what its parents gave, and what it may use.

    `inputs` maps each parent (or the label of its edge) to what it gave. Everything in it is a
    copy, so that a function may change what it gets.
    """

    def __init__(
        self, node: DomainNode[NodeProps], context: ExecutionContext, secrets: Secrets
    ) -> None:
        self._context = context
        self.secrets = secrets
        self.node = node.key
        self.data: Mapping[str, Any] = node.props.model_extra or {}

    @property
    def thread_id(self) -> str:
        """The id of the run."""
        return self._context.execution_id

    @property
    def occurrence(self) -> int:
        """Which visit of the node this is, from 1: loops come again."""
        return self._context.node_run.occurrence

    @property
    def attempt(self) -> int:
        """Which attempt of this visit it is, from 1."""
        return self._context.node_run.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this visit: send it with effects outside."""
        return self._context.idempotency_key

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """What the parents gave, by name."""
        given = {key: value for key, value in self._context.inputs.items() if key != START}
        return copy.deepcopy(given)

    @cached_property
    def variables(self) -> dict[str, Any]:
        """The run's variables as they are now; `put` changes them."""
        return copy.deepcopy(dict(self._context.variables))

    def put(self, name: str, value: Any, *, reducer: str | None = None) -> None:
        """Change a variable of the run when this node ends."""
        self._context.put(name, value, reducer=reducer)

    def log(self, line: str, stream: str = "stdout") -> None:
        """Tell one line, without waiting for anybody."""
        self._context.log(stream, self.secrets.masked_text(line))

    def observe(self, code: str, message: str) -> None:
        """Tell of something that went wrong and does not fail the node."""
        self._context.observe(code, self.secrets.masked_text(message))


NodeFunction: TypeAlias = Callable[[NodeCall], Awaitable[Any]]
"""A node's work: its result is any JSON value, SKIP_BRANCH, or what a handler may return."""


class FunctionFailed(NodeError):
    """A function raised; its failure has the name of the exception, and nothing secret in it."""

    code = "CODE_ERROR"


def function_type(name: str) -> str:
    """The node type of the function of that name."""
    return f"{PREFIX}{name}"


def as_node_type(name: str, function: NodeFunction, secrets: Secrets) -> Registration:
    """A function as a node type. Raises InvalidInput unless it is an async function."""
    check_async(name, function)

    async def handle(node: DomainNode[NodeProps], context: ExecutionContext) -> HandlerResult:
        call = NodeCall(node, context, secrets)
        try:
            result = await function(call)
        except Exception as error:  # noqa: BLE001 - any of them is the failure of the node.
            raise told_without(secrets, error) from None
        context.deltas[:] = [
            replace(delta, puts=secrets.masked(dict(delta.puts))) for delta in context.deltas
        ]
        return _masked_result(result, secrets)

    return registration(name, handle, inspect.getdoc(function) or "")


def registration(name: str, handler: AnyHandler, description: str) -> Registration:
    """The node type of one executor's function."""
    spec = NodeSpec(
        type=function_type(name),
        props=NodeProps,
        category="function",
        label=name,
        description=description,
    )
    return Registration(spec, handler)


def check_async(name: str, function: object) -> None:
    """Raises InvalidInput unless it is an async function, or an object that is called as one."""
    call = getattr(function, "__call__", None)  # noqa: B004 - asks whether that is a coroutine.
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        return
    message = f"What node {name!r} runs is no async function: {type(function).__name__}."
    raise InvalidInput(message, hint="Declare it with `async def`; wrap what blocks in a thread.")


def _masked_result(result: object, secrets: Secrets) -> HandlerResult:
    match result:
        case NodeOutput(value=value):
            return replace(result, value=secrets.masked(dict(value)))
        case Goto(output=output) | End(output=output):
            return replace(result, output=replace(output, value=secrets.masked(output.value)))
        case Fallback(reason=reason):
            return replace(result, reason=secrets.masked_text(reason))
        case _ if isinstance(result, HandlerResult):
            return result
        case _:
            return create_node_output({"default": secrets.masked(result)})


def told_without(secrets: Secrets, error: Exception) -> Exception:
    """The failure that an exception of a function is, with nothing secret in what it says."""
    if isinstance(error, DipeoError):
        error.message = secrets.masked_text(error.message)
        error.hint = None if error.hint is None else secrets.masked_text(error.hint)
        return error
    if isinstance(error, TimeoutError):
        return TimeoutError(secrets.masked_text(str(error)))
    # Policies may match the name of the exception, so it keeps that.
    kind = type(error).__name__
    alike: type[FunctionFailed] = type(kind, (FunctionFailed,), {})
    return alike(secrets.masked_text(f"{kind}: {error}"), hint=_place(error))


def _place(error: Exception) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return None
    return f"Raised in {frames[-1].name}, {PurePath(frames[-1].filename).name}:{frames[-1].lineno}."
