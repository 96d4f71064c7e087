"""How nodes and runs fail: a typed error, and what one failure does to the rest of a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorStrategy(StrEnum):
    """What a failure that nobody handles does to the rest of the run."""

    FAIL_FAST = "FAIL_FAST"
    COLLECT = "COLLECT"
    COLLECT_PARTIAL = "COLLECT_PARTIAL"


@dataclass(frozen=True, slots=True)
class Failure:
    """A typed error of a node or of the run; codes are listed in the documentation.

    `error_type` is the exception's class name: a node's `on_error.match` and `retry.retry_on` may
    name it as well as the code.
    """

    code: str
    message: str
    node: str | None = None
    retryable: bool = False
    hint: str | None = None
    error_type: str | None = None

    def is_one_of(self, names: tuple[str, ...]) -> bool:
        """Is its code or its type among these?"""
        return self.code in names or self.error_type in names
