"""What can be refused by an ExecutionGraph and its states: one exception for each way."""

from __future__ import annotations

from typing import Any

from dipeo_server.errors import InvalidInput, InvalidState, NotFound


class StateNotFound(NotFound):
    """No state of the graph has that id."""

    code = "STATE_NOT_FOUND"


class OperationNotFound(NotFound):
    """The state has no operation of that id or name."""

    code = "OPERATION_NOT_FOUND"


class FunctionNotFound(NotFound):
    """No operation exports a function of that name, or this program has not given it."""

    code = "FUNCTION_NOT_FOUND"


class StateBusy(InvalidState):
    """The state is executing; `pending` is a FutureExecutionState: await it for its end."""

    code = "STATE_BUSY"
    default_hint = "Await `pending` of this error, or look the state up again when it has ended."

    def __init__(self, message: str, *, pending: Any = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pending = pending


class OperationNotReady(InvalidState):
    """The operation cannot run now, or be given a value: its inputs are not there."""

    code = "OPERATION_NOT_READY"


class FixedPoint(InvalidState):
    """No operation has fresh inputs: fixed point, no further execution."""

    code = "FIXED_POINT"
    default_hint = "Add an operation, or step a manual one by its name."


class NameCollision(InvalidInput):
    """Two operations export, or are called, the same; or two give one and the same input."""

    code = "NAME_COLLISION"


class NoGraphSender(InvalidState):
    """The state belongs to no graph, so that nothing can run from it."""

    code = "NO_GRAPH_SENDER"
    default_hint = "Bind it first: state.with_graph_sender(graph)."


class NoCounterpart(InvalidInput):
    """Something of an operation graph that runs of this engine do not have."""

    code = "NO_COUNTERPART"
