"""Operations and calls as types of nodes: how their functions and their code are run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from dipeo_server.domains.diagram.executable import AfterCrash
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.child_runs import failure_of, output_of
from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.output import HandlerResult, create_node_output
from dipeo_server.domains.execution.ports import CodeRequest, ProcessOptions
from dipeo_server.domains.execution.registry import Registration
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import CodeError, NodeError
from dipeo_server.executors.execution_graph_errors import FunctionNotFound
from dipeo_server.executors.functions import told_without
from dipeo_server.executors.messages import HEAD, Message, MessageQueue
from dipeo_server.executors.operation_code import (
    CALLED,
    PAYLOAD,
    call_of,
    definitions_in,
    program,
)
from dipeo_server.executors.operation_diagram import INVOCATION, OPERATION, Invocation, program_of
from dipeo_server.executors.operation_set import Operations
from dipeo_server.executors.operations import (
    CALL,
    AsyncFunction,
    Dependency,
    Functions,
    Operation,
    ReferenceKind,
    operation_id_of,
    operation_key,
)
from dipeo_server.executors.secret_values import Secrets

CODE_SECONDS: Final = 30.0

_NO_SECRETS: Final = Secrets({})


CallSink: TypeAlias = Callable[[ExecutionID], Awaitable[None]]
"""Takes the run of each call that has ended, before who called goes on."""


class OperationCall:
    """What a function of an operation may use, if it has a parameter `call`."""

    def __init__(self, context: ExecutionContext, messages: MessageQueue, called: CallSink) -> None:
        self._context = context
        self._messages = messages
        self._called = called
        self._head = int(context.variables.get(HEAD, 0))
        self._dispatched = 0

    @property
    def execution_id(self) -> str:
        """The run that the operation runs in."""
        return self._context.execution_id

    @property
    def occurrence(self) -> int:
        """Which visit of the operation this is, from 1: cycles come again."""
        return self._context.node_run.occurrence

    def log(self, line: str, stream: str = "stdout") -> None:
        """Tell one line, which becomes part of the operation's output."""
        self._context.log(stream, line)

    async def take_message(self) -> Message | None:
        """The next message that no operation has taken on the way to this state, or None.

        It counts as taken when the operation ends well.
        """
        message = await self._messages.at(self._head)
        if message is not None:
            self._head += 1
            self._context.put(HEAD, self._head, reducer="max")
        return message

    async def dispatch(self, function: str, payload: Any = None) -> Any:
        """Call a function that an operation exports; what it gives.

        The call is a run of its own, recorded before and after. Where this operation runs again
        after a crash, calls that had ended are not made again. Raises FunctionNotFound, NodeError.
        """
        operations = program_of(self._context.diagram).operations
        outputs = {key: each.body for key, each in self._context.node_outputs.items()}
        invocation = invocation_of(operations, outputs, function, payload)
        self._dispatched += 1
        document = {
            "nodes": [
                {"label": "input", "type": "start"},
                {"label": CALL, "type": INVOCATION, "props": invocation.model_dump(mode="json")},
            ],
            "connections": [{"from": "input", "to": CALL}],
        }
        child = ChildRun(None, document, "light", {}, key=f"{function}#{self._dispatched}")
        result = await self._context.services.sub_diagrams.run(child)
        await self._called(result.execution_id)
        if result.status is not ExecutionStatus.COMPLETED:
            code, message = failure_of(f"The call of {function!r}", result)
            failed = CodeError(message)
            failed.code = code or failed.code
            raise failed
        return output_of(result)


def invocation_of(
    operations: Operations, outputs: Mapping[str, Any], function: str, payload: Any
) -> Invocation:
    """The call of a function that an operation exports. Raises FunctionNotFound."""
    exporter = operations.exporter_of(function)
    if exporter.code is None:
        return Invocation(name=function, function=exporter.functions[function], payload=payload)
    values = _exports_of(exporter, outputs.get(exporter.key))
    return Invocation(
        name=function,
        definitions=_with_what_it_calls(operations, exporter),
        values={**_values_read(operations, exporter, outputs), **values},
        payload=payload,
    )


def _exports_of(operation: Operation, output: Any) -> dict[str, Any]:
    return dict(output) if operation.is_map and isinstance(output, Mapping) else {}


def _values_read(
    operations: Operations, operation: Operation, outputs: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in operations.dependencies_of(operation):
        source = operations.by_id.get(each.operation)
        name = operation.slot_of(each.reference)
        if source is not None and name is not None and source.key in outputs:
            found[name] = _taken(source, each, outputs[source.key])
    return found


def _taken(source: Operation, dependency: Dependency, output: Any) -> Any:
    """What a dependency takes of the output of an operation."""
    reference = dependency.reference
    if reference.kind is not ReferenceKind.GLOBAL_NAME:
        return output
    try:
        return source.export_of(output, reference.name or "")
    except (KeyError, TypeError):
        message = f"{source.name!r} has not given {reference.name!r}, which it exports."
        raise NodeError(message, hint="Return a map with every name in `exports`.") from None


def _with_what_it_calls(operations: Operations, operation: Operation) -> str:
    return "\n\n".join([*_definitions(operations, operation), definitions_in(operation.code or "")])


def _definitions(
    operations: Operations, operation: Operation, seen: frozenset[int] = frozenset()
) -> Iterator[str]:
    """Those of the cells whose functions it calls, and of those that they call, once each."""
    for each in operations.dependencies_of(operation):
        source = operations.by_id.get(each.operation)
        is_call = each.reference.kind is ReferenceKind.FUNCTION_INVOCATION
        if source is None or not is_call or source.id in seen or source.id == operation.id:
            continue
        seen |= {source.id, operation.id}
        yield from _definitions(operations, source, seen)
        yield definitions_in(source.code or "")


class OperationNodes:
    """The types of nodes of one graph; functions may be added while it is open."""

    def __init__(self, functions: Functions, messages: MessageQueue, called: CallSink) -> None:
        self._functions = functions
        self._messages = messages
        self._called = called

    def registrations(self) -> tuple[Registration, Registration]:
        """The types `operation` and `invocation`; both run again after a crash."""
        operation = NodeSpec(
            type=OPERATION,
            props=Operation,
            category="function",
            label="Operation",
            description="Runs an async function, or Python code.",
            after_crash=AfterCrash.RERUN,
        )
        invocation = NodeSpec(
            type=INVOCATION,
            props=Invocation,
            category="function",
            label="Call",
            description="Calls a function that an operation exports.",
            after_crash=AfterCrash.RERUN,
        )
        return (
            Registration(operation, self._operate),
            Registration(invocation, self._invoke),
        )

    async def _operate(
        self, node: DomainNode[Operation], context: ExecutionContext
    ) -> HandlerResult:
        operation = node.props
        operations = program_of(context.diagram).operations
        values = _given(operation, operations, context)
        if operation.code is not None:
            definitions = _definitions(operations, operation)
            code = program(operation.code, operation.exports, definitions)
            values |= _values_called(operations, operation, context)
            result = await _run(code, values, operation.timeout, context)
        else:
            function = self._function(operation.function or "")
            call = OperationCall(context, self._messages, self._called)
            result = await _called(_arguments(function, operation, values, call))
        return result if isinstance(result, HandlerResult) else _output(result)

    async def _invoke(
        self, node: DomainNode[Invocation], context: ExecutionContext
    ) -> HandlerResult:
        called = node.props
        if called.function is None:
            code = call_of(called.name, called.definitions)
            values = {**called.values, PAYLOAD: called.payload}
            return _output(await _run(code, values, None, context, called=CALLED))
        function = self._function(called.function)
        has_call = CALL in inspect.signature(function).parameters
        given = {CALL: OperationCall(context, self._messages, self._called)} if has_call else {}
        return _output(await _called(partial(function, called.payload, **given)))

    def _function(self, key: str) -> AsyncFunction:
        function = self._functions.get(key)
        if function is None:
            message = f"This program has not given the function {key!r}."
            raise FunctionNotFound(message, hint="Pass it in `functions` when the graph is opened.")
        return function


def _given(
    operation: Operation, operations: Operations, context: ExecutionContext
) -> dict[str, Any]:
    """What its inputs bring, by the names of its parameters."""
    by_slot: dict[tuple[str, int], Dependency] = {}
    for each in operations.dependencies_of(operation):
        slot = operation.slot_of(each.reference)
        if slot is not None:
            by_slot[slot, each.operation] = each
    found: dict[str, Any] = {}
    for slot, value in context.inputs.items():
        source = operation_id_of(context.input_envelopes[slot].produced_by)
        dependency = None if source is None else by_slot.get((slot, source))
        if dependency is not None:
            found[slot] = _taken(operations.by_id[dependency.operation], dependency, value)
    return found


def _values_called(
    operations: Operations, operation: Operation, context: ExecutionContext
) -> dict[str, Any]:
    """Values that the functions which it calls may refer to."""
    found: dict[str, Any] = {}
    for each in operations.dependencies_of(operation):
        source = operations.by_id[each.operation]
        if each.reference.kind is ReferenceKind.FUNCTION_INVOCATION and source.code is not None:
            envelope = context.node_outputs.get(operation_key(source.id))
            if envelope is not None:
                found |= _exports_of(source, envelope.body)
    return found


def _arguments(
    function: AsyncFunction, operation: Operation, values: dict[str, Any], call: OperationCall
) -> Callable[[], Awaitable[Any]]:
    given = {name: value for name, value in values.items() if name in operation.parameters}
    parameters = inspect.signature(function).parameters
    if CALL in parameters:
        given[CALL] = call
    for name in operation.required - given.keys():
        # A parameter that is the name of a function is that function.
        given[name] = partial(call.dispatch, name)
    return partial(function, **given)


async def _called(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - any of them is the failure of the operation.
        raise told_without(_NO_SECRETS, error) from None


async def _run(
    code: str,
    values: Mapping[str, Any],
    seconds: float | None,
    context: ExecutionContext,
    called: str = "main",
) -> Any:
    request = CodeRequest(
        language="python",
        code=code,
        file_path=None,
        function_name=called,
        inputs={},
        options=ProcessOptions(timeout=seconds or CODE_SECONDS),
        node_id=context.node_run.node,
        variables=values,
    )
    return await context.services.code.run(request, context.log)


def _output(value: Any) -> HandlerResult:
    return create_node_output({"default": value})
