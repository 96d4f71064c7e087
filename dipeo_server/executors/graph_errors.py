"""What can go wrong with a Graph and its runs: one exception for each way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from dipeo_server.domains.execution.events import Failure
from dipeo_server.errors import DipeoError, Rejected


class LogEntry(NamedTuple):
    """One step of a run: which node, from when to when, and whether it went well."""

    step: int
    node: str
    start: datetime
    end: datetime
    success: bool


class GraphResult(NamedTuple):
    """What a completed run gave; `duration` in seconds."""

    trace_id: str
    state: Mapping[str, Any]
    execution_log: tuple[LogEntry, ...]
    duration: float


class InvalidGraph(Rejected):
    """The graph cannot be run."""

    code = "INVALID_GRAPH"


class NodeNotFound(InvalidGraph):
    """Something names a node that is not in the graph."""

    code = "NODE_NOT_FOUND"


class GraphError(DipeoError):
    """A run did not complete; it has everything that the result of a completed one has.

    `node` is where it went wrong, if anywhere; `failures` are all of them, the first one first;
    `run` is what the run gave until then.
    """

    def __init__(
        self,
        message: str,
        run: GraphResult,
        *,
        code: str | None = None,
        hint: str | None = None,
        failures: tuple[Failure, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code or type(self).code
        self.run = run
        self.trace_id, self.state, self.execution_log, self.duration = run
        self.failures = failures
        self.node = failures[0].node if failures else None


class NodeExecutionFailed(GraphError):
    """A node failed, and nothing took its failure."""


class MissingEdge(NodeExecutionFailed):
    """A node wanted to go on where no edge leads, or to end a run that it may not end."""

    code = "MISSING_EDGE"


class Unrouted(NodeExecutionFailed):
    """No edge of a node could be followed; the message has every condition and its value."""

    code = "UNROUTED"


class StepsExceeded(GraphError):
    """The run took as many steps as it may, and was not over; `limit` is how many those are."""

    code = "MAX_STEPS"

    def __init__(self, limit: int, run: GraphResult) -> None:
        message = f"The run was not over after {limit} steps."
        super().__init__(message, run, hint="Raise max_steps; does a loop never end?")
        self.limit = limit


class GraphCancelled(GraphError):
    """Somebody ended the run."""

    code = "CANCELLED"


def error_of(failures: tuple[Failure, ...], run: GraphResult) -> GraphError:
    """The exception for a run that failed."""
    first = failures[0]
    kinds: dict[str, type[NodeExecutionFailed]] = {
        MissingEdge.code: MissingEdge,
        Unrouted.code: Unrouted,
    }
    kind = kinds.get(first.code, NodeExecutionFailed)
    return kind(first.message, run, code=first.code, hint=first.hint, failures=failures)
