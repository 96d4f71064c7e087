"""Refusals as values: the one place where errors become UserError types."""

from __future__ import annotations

import strawberry

from dipeo_server import errors
from dipeo_server.api.context import OperationContext
from dipeo_server.api.types import diagram
from dipeo_server.api.types.actions import available_actions
from dipeo_server.api.types.described import interface, object_type
from dipeo_server.api.types.enums import ErrorCode, ExecutionAction
from dipeo_server.api.types.execution import Barrier, DiagramRevision, barrier, stored_revision
from dipeo_server.domains.diagram import problem
from dipeo_server.domains.execution import diagram_store
from dipeo_server.domains.execution.barrier import BarrierAlreadyDecided
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import (
    DipeoError,
    IdempotencyMismatch,
    InvalidInput,
    InvalidState,
    Rejected,
    StorageError,
    Unavailable,
)

REFUSALS = (Rejected, StorageError, Unavailable)
"""What a mutation answers as a value; anything else is a bug and a top-level error."""


@interface
class UserError:
    """Why a mutation did nothing.

    `code` is for programs, `message` for people, `field` a path into the arguments.
    """

    message: str = strawberry.field(description="For people: what, where, why.")
    field: list[str] | None = strawberry.field(
        default=None, description="Path of the argument it is about; null = none in particular."
    )
    code: ErrorCode = strawberry.field(description="For programs.")
    hint: str | None = strawberry.field(default=None, description="How to mend it.")


@object_type
class InputProblem(UserError):
    """An argument is wrong, or asks for more than is allowed."""


@object_type
class NotFound(UserError):
    """There is nothing with that id."""


@object_type
class DiagramInvalid(UserError):
    """The diagram cannot run."""

    problems: list[diagram.DiagramProblem] = strawberry.field(description="Errors and warnings.")


@object_type
class InvalidTransition(UserError):
    """The execution is in a status in which this cannot be done."""

    current: ExecutionStatus = strawberry.field(description="The status it is in.")
    allowed: list[ExecutionAction] = strawberry.field(description="What can be done instead.")


@object_type
class StaleRevision(UserError):
    """The diagram has moved on since its author read it."""

    head: DiagramRevision = strawberry.field(description="Its newest revision.")


@object_type
class AlreadyDecided(UserError):
    """Another decision on the barrier was committed first."""

    winner: Barrier = strawberry.field(description="The barrier as it was decided.")


@object_type
class ServiceProblem(UserError):
    """The server cannot do this now; nothing was changed."""


PROBLEM_TYPES = (
    InputProblem,
    NotFound,
    DiagramInvalid,
    InvalidTransition,
    StaleRevision,
    AlreadyDecided,
    ServiceProblem,
)
"""Every type that implements UserError."""


def user_error(
    refusal: DipeoError, execution_id: ExecutionID | None, view: ExecutionView | None
) -> UserError:
    """The GraphQL value of a refusal; `view` is the execution whose state is the reason."""
    message, hint = refusal.message, refusal.hint
    match refusal:
        case problem.DiagramInvalid(problems=problems):
            return DiagramInvalid(
                message=message,
                hint=hint,
                code=ErrorCode.INVALID,
                problems=[diagram.diagram_problem(found) for found in problems],
            )
        case BarrierAlreadyDecided(winner=winner) if execution_id is not None:
            return AlreadyDecided(
                message=message,
                hint=hint,
                code=ErrorCode.ALREADY_DECIDED,
                winner=barrier(winner, execution_id),
            )
        case InvalidState() if view is not None:
            return InvalidTransition(
                message=message,
                hint=hint,
                code=ErrorCode.INVALID_STATE,
                current=view.status,
                allowed=available_actions(view),
            )
        case errors.NotFound():
            return NotFound(message=message, hint=hint, code=ErrorCode.NOT_FOUND)
        case Rejected():
            return InputProblem(
                message=message, hint=hint, code=_code(refusal), field=_field(refusal)
            )
        case _:
            return ServiceProblem(message=message, hint=hint, code=_code(refusal))


def diagram_error(refusal: DipeoError, context: OperationContext) -> UserError:
    """The GraphQL value of a refusal to change a stored diagram."""
    if not isinstance(refusal, diagram_store.StaleRevision):
        return user_error(refusal, None, None)
    return StaleRevision(
        message=refusal.message,
        hint=refusal.hint,
        code=ErrorCode.STALE_REVISION,
        field=["expectedRevision"],
        head=stored_revision(refusal.head, context),
    )


def _code(refusal: DipeoError) -> ErrorCode:
    known = set(ErrorCode)
    fallback = ErrorCode.INVALID if isinstance(refusal, Rejected) else ErrorCode.UNAVAILABLE
    return ErrorCode(refusal.code) if refusal.code in known else fallback


def _field(refusal: Rejected) -> list[str] | None:
    match refusal:
        case InvalidInput(field=field) if field:
            return list(field)
        case IdempotencyMismatch():
            return ["idempotencyKey"]
        case _:
            return None
