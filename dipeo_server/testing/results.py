"""What the client of the tests gives back: runs, nodes, barriers, events, and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from dipeo_server.errors import DipeoError


class Refused(DipeoError):
    """The server refused; nothing was changed. `code` is the server's.

    `problems` has what is wrong with a diagram, `details` everything that was answered.
    """

    def __init__(self, details: Mapping[str, Any]) -> None:
        extensions = details.get("extensions") or {}
        hint = details.get("hint") or extensions.get("hint")
        super().__init__(_message(details), hint=hint)
        self.code = str(details.get("code") or extensions.get("code") or "INTERNAL")
        self.details = dict(details)
        self.problems: Sequence[Mapping[str, Any]] = details.get("problems") or ()


class RunFailed(DipeoError):
    """A run that should have completed did not; `execution` is how it was left."""

    def __init__(self, message: str, execution: Execution) -> None:
        super().__init__(message)
        self.code = "RUN_FAILED"
        self.execution = execution


def _message(details: Mapping[str, Any]) -> str:
    lines = [str(details.get("message") or "The server refused the request.")]
    for problem in details.get("problems") or ():
        place = problem.get("nodeKey") or problem.get("edgeKey") or f"line {problem.get('line')}"
        lines.append(f"  {place}: {problem.get('message')}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class NodeResult:
    """How a node was left: its last visit. `output` is any JSON value."""

    key: str
    status: str
    occurrence: int
    attempt: int
    output: Any = None
    error: Mapping[str, Any] | None = None
    skip_reason: str | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The node of a `NodeState`."""
        output = data["output"]
        return cls(
            key=data["nodeKey"],
            status=data["status"],
            occurrence=data["occurrence"],
            attempt=data["attempt"],
            output=None if output is None else output["body"],
            error=data["error"],
            skip_reason=data["skipReason"],
        )


@dataclass(frozen=True, slots=True)
class Barrier:
    """A question to a person."""

    id: str
    node: str
    occurrence: int
    status: str
    prompt: Any = None
    answer_schema: Any = None
    decided_by: str | None = None
    reason: str | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The barrier of a `Barrier`."""
        return cls(
            id=data["id"],
            node=data["nodeKey"],
            occurrence=data["occurrence"],
            status=data["status"],
            prompt=data["prompt"],
            answer_schema=data["answerSchema"],
            decided_by=data["decidedBy"],
            reason=data["reason"],
        )


@dataclass(frozen=True, slots=True)
class Execution:
    """A run as it was when it was looked at; `barriers` are those that wait."""

    id: str
    status: str
    is_active: bool
    last_sequence: int
    variables: Mapping[str, Any]
    error: Mapping[str, Any] | None = None
    nodes: Mapping[str, NodeResult] = field(default_factory=dict)
    barriers: tuple[Barrier, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The run of an `ExecutionState`."""
        nodes = (NodeResult.of(each) for each in data["nodeStates"])
        return cls(
            id=data["id"],
            status=data["status"],
            is_active=data["isActive"],
            last_sequence=int(data["lastSequence"]),
            variables=data["variables"],
            error=data["error"],
            nodes={node.key: node for node in nodes},
            barriers=tuple(Barrier.of(each) for each in data["barriers"]),
        )

    def output(self, node: str) -> Any:
        """What a node gave. Raises KeyError for a node that the diagram does not have."""
        return self.nodes[node].output

    def raise_for_failure(self) -> Self:
        """The run itself. Raises RunFailed unless it COMPLETED, naming what failed."""
        if self.status == "COMPLETED":
            return self
        raise RunFailed(f"The run {self.id} is {self.status}{self._why()}", self)

    def _why(self) -> str:
        error = self.error or {}
        failed = [
            f"{node.key}: {node.error.get('message')}"
            for node in self.nodes.values()
            if node.error is not None
        ]
        waiting = [f"{barrier.node} waits for a decision" for barrier in self.barriers]
        reasons = failed or [str(error["message"])] * bool(error) or waiting
        return f": {'; '.join(reasons)}" if reasons else "."


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run: its type, its place, the node it is about, and all that it tells."""

    type: str
    sequence: int
    node: str | None
    data: Mapping[str, Any]

    @property
    def is_terminal(self) -> bool:
        """Is it the last one of its run?"""
        return self.type in {"ExecutionCompleted", "ExecutionFailed", "ExecutionAborted"}
