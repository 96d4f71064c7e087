"""Which errors clients may read: all that are meant for them; of the rest only a number."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from dipeo_server.errors import DipeoError, InvalidInput

log = structlog.get_logger(__name__)

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
BAD_INPUT: Final = "BAD_USER_INPUT"
INTERNAL: Final = "INTERNAL"


def public_errors(errors: Sequence[GraphQLError] | None) -> list[GraphQLError] | None:
    """The errors as clients may read them, each with `extensions.code`; bugs are logged."""
    return None if errors is None else [public_error(error) for error in errors]


def public_error(error: GraphQLError) -> GraphQLError:
    """One error; it is its own public form if it has a code already, as all of validation have."""
    if error.extensions and "code" in error.extensions:
        return error
    cause = _cause(error)
    match cause:
        case DipeoError():
            return _coded(error, cause.message, **_details(cause))
        case RecursionError():
            return _coded(error, "The document is nested too deeply.", code="LIMIT_EXCEEDED")
        case GraphQLSyntaxError():
            return _coded(error, error.message, code=PARSE_FAILED)
        case CannotGetOperationTypeError(operation_name=name):
            return _coded(error, no_operation(name), code=VALIDATION_FAILED)
        case InvalidOperationTypeError():
            return _coded(error, error.message, code=VALIDATION_FAILED)
        case GraphQLError():
            # The document is valid, so it is about variables, or an argument that they give.
            return _coded(error, error.message, code=BAD_INPUT)
        case _:
            return _masked(error, cause)


def no_operation(name: str | None) -> str:
    """What is said where a document does not have the operation that is meant."""
    missing = "no operation" if name is None else f"no operation named {name[:80]!r}"
    return f"The document has {missing}."


def _cause(error: GraphQLError) -> Exception:
    """What was raised first."""
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _details(cause: DipeoError) -> dict[str, object]:
    details: dict[str, object] = {"code": cause.code}
    if cause.hint is not None:
        details["hint"] = cause.hint
    if isinstance(cause, InvalidInput) and cause.field:
        details["field"] = list(cause.field)
    return details


def _masked(error: GraphQLError, cause: Exception) -> GraphQLError:
    error_id = secrets.token_hex(8)
    log.error("internal_error", error_id=error_id, path=error.path, exc_info=cause)
    message = f"Something went wrong inside the server (error {error_id}; see its log)."
    return _coded(error, message, code=INTERNAL, errorId=error_id)


def _coded(error: GraphQLError, message: str, **extensions: object) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
