"""The audit: who did, or tried to do, what; kept in the order in which it was done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

DONE: Final = "DONE"
"""The outcome of what was done; what was not has an error code in its place."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody tries to do something: `operation` is the mutation, or the field that is denied.

    `target` is the id of what it is about, None where that comes about by it. `request_id` is that
    of the request or the socket, `key` the idempotency key that the client gave.
    """

    principal: str
    token_id: str | None
    operation: str
    request_id: str
    target: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What came of an attempt; `position` counts from 1 without gaps, given when it is stored."""

    attempt: Attempt
    at: datetime
    outcome: str = DONE
    position: int = 0
