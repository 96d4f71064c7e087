"""What a run or a node cost, gave and how it failed: tokens, envelopes, errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.ids import Kind, PartID
from dipeo_server.api.json_dialect import dumps
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.paging import Node
from dipeo_server.domains.execution import envelope as domain
from dipeo_server.domains.execution import output
from dipeo_server.domains.execution.envelope import ContentType
from dipeo_server.domains.execution.events import Failure
from dipeo_server.domains.execution.ids import ExecutionID

BODY_BYTES_MAX: Final = 256 * 1024


@object_type
class TokenUsage:
    """Tokens of language models."""

    input: int = strawberry.field(description="Tokens sent, cached ones included.")
    output: int = strawberry.field(description="Tokens received.")
    cached: int = strawberry.field(description="Tokens sent that the service had in its cache.")
    total: int = strawberry.field(description="`input` and `output` together.")


def token_usage(usage: output.TokenUsage) -> TokenUsage:
    """The GraphQL value of a count."""
    return TokenUsage(
        input=usage.input, output=usage.output, cached=usage.cached, total=usage.total
    )


@object_type
class ExecutionError:
    """Why a node or a run failed."""

    code: str = strawberry.field(description="For programs; the documentation lists all of them.")
    message: str = strawberry.field(description="For people: what, where, why.")
    node_key: str | None = strawberry.field(description="The node it happened in.")
    is_retryable: bool = strawberry.field(description="May another attempt succeed?")
    hint: str | None = strawberry.field(default=None, description="How to mend it.")


def execution_error(failure: Failure) -> ExecutionError:
    """The GraphQL value of a failure."""
    return ExecutionError(
        code=failure.code,
        message=failure.message,
        node_key=failure.node,
        is_retryable=failure.retryable,
        hint=failure.hint,
    )


def stored_error(error: Mapping[str, Any]) -> ExecutionError:
    """The GraphQL value of the error in an execution's row."""
    return ExecutionError(
        code=str(error.get("code", "INTERNAL")),
        message=str(error.get("message", "")),
        node_key=error.get("node"),
        is_retryable=bool(error.get("retryable", False)),
        hint=error.get("hint"),
    )


class _Measured:
    """The size of a body in bytes of JSON, measured when somebody first asks."""

    __slots__ = ("_size", "body")

    def __init__(self, made: domain.Envelope) -> None:
        self.body = made.body
        self._size = None if made.blob is None else made.blob.size

    @property
    def size(self) -> int:
        if self._size is None:
            self._size = len(dumps(self.body))
        return self._size

    @property
    def is_truncated(self) -> bool:
        if self._size is not None:
            return self._size > BODY_BYTES_MAX
        # Every character of JSON is at least a byte, so most texts need no measuring.
        if isinstance(self.body, str) and len(self.body) * 6 < BODY_BYTES_MAX:
            return False
        return self.size > BODY_BYTES_MAX


@object_type
class Envelope(Node):
    """Immutable message between nodes."""

    produced_by: str = strawberry.field(description="Key of the node that gave it.")
    occurrence: int = strawberry.field(description="Which visit of that node gave it, from 1.")
    content_type: ContentType = strawberry.field(description="What the body is.")
    meta: JSON = strawberry.field(description="Everything about it that is not data.")
    timestamp: datetime = strawberry.field(description="When it was made.")
    has_error: bool = strawberry.field(description="Does it carry an error in place of a result?")
    measured: strawberry.Private[_Measured]

    @computed
    def body(self) -> JSON | None:
        """The data; null if it is larger than 256 KiB, or empty."""
        return None if self.measured.is_truncated else JSON(self.measured.body)

    @computed
    def size_bytes(self) -> int:
        """Size of the data as JSON, in bytes."""
        return self.measured.size

    @computed
    def is_truncated(self) -> bool:
        """Was the data left out because of its size?"""
        return self.measured.is_truncated


def envelope(made: domain.Envelope, execution_id: ExecutionID, at: datetime) -> Envelope:
    """The GraphQL value; `at` stands in for a missing timestamp."""
    part = PartID(Kind.ENVELOPE, execution_id, made.produced_by, made.occurrence)
    return Envelope(
        id=strawberry.ID(part.encode()),
        produced_by=made.produced_by,
        occurrence=made.occurrence,
        content_type=made.content_type,
        meta=JSON(dict(made.meta)),
        timestamp=made.timestamp or at,
        has_error=made.has_error(),
        measured=_Measured(made),
    )
