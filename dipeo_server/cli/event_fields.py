"""Events for programs: everything that the API tells of each, under the API's own names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_VISIT: Final = "nodeKey occurrence"
_ATTEMPT: Final = f"{_VISIT} attempt"
_FIGURES: Final = "duration tokenUsage"

FIELDS: Final[Mapping[str, str]] = {
    "BarrierResolved": f"{_VISIT} barrierId status action answer reason decidedBy",
    "BarrierWaiting": f"{_VISIT} barrierId prompt answerSchema expiresAt",
    "BranchCompleted": f"{_VISIT} branch isSuccess duration error",
    "BreakpointHit": f"{_VISIT} when",
    "BreakpointsChanged": "breakpoints actor",
    "CheckpointFailed": "trigger message",
    "CheckpointSaved": "checkpointId at trigger sizeBytes",
    "DiagramMutated": "revisionNumber contentHash rerun unreachable actor",
    "EarlyDecisionChanged": f"decisionId {_VISIT} change actor",
    "ExecutionAborted": f"{_FIGURES} reason actor",
    "ExecutionCompleted": f"{_FIGURES} observedErrors",
    "ExecutionFailed": f"{_FIGURES} error errors",
    "ExecutionStarted": "revisionNumber contentHash variables actor parentId forkedAt",
    "ExecutionStatusChanged": "from to reason actor cause",
    "LimitRaised": "maxSteps actor maxTokens maxTime",
    "NodeCompleted": f"{_ATTEMPT} spanId {_FIGURES} output ports",
    "NodeFailed": f"{_ATTEMPT} spanId {_FIGURES} error willRetry",
    "NodeInterrupted": f"{_ATTEMPT} spanId reason willRerun",
    "NodeMaxIterationsReached": f"{_VISIT} limit",
    "NodeOutputSet": f"{_ATTEMPT} output ports reason actor",
    "NodeReported": f"{_ATTEMPT} status",
    "NodeRetryScheduled": f"{_ATTEMPT} dueAt error actor",
    "NodeSkipped": f"{_VISIT} reason actor comment",
    "NodeStarted": f"{_ATTEMPT} spanId revisionNumber",
    "ObservedError": f"{_VISIT} error",
    "ParallelCompleted": f"{_VISIT} duration",
    "ParallelStarted": f"{_VISIT} branches",
    "ResultDiscarded": f"{_ATTEMPT} reason",
    "RunnerRestarted": "interrupted",
    "StateChanged": f"{_VISIT} key value isDeleted",
}
"""What is asked of each type of event, besides what all have."""

_ERROR: Final = "{ code message hint nodeKey isRetryable }"
_WITHIN: Final = {
    "breakpoints": "{ nodeKey when condition }",
    "error": _ERROR,
    "errors": _ERROR,
    "output": "{ id contentType body sizeBytes isTruncated meta }",
    "tokenUsage": "{ input output cached total }",
}
# Of one name in one answer there can be one type: these differ, so they get names of their own.
_ODD: Final = {
    "BranchCompleted": {"error"},
    "BarrierResolved": {"reason", "status"},
    "EarlyDecisionChanged": {"occurrence"},
    "ExecutionAborted": {"reason"},
    "ExecutionStarted": {"revisionNumber"},
    "ExecutionStatusChanged": {"reason"},
    "ObservedError": {"nodeKey", "occurrence"},
    "StateChanged": {"nodeKey", "occurrence"},
}
_MARK: Final = "_odd"


def _selection(kind: str, fields: str) -> str:
    odd = _ODD.get(kind, set())
    asked = (
        f"{f'{name}{_MARK}: ' if name in odd else ''}{name} {_WITHIN.get(name, '')}".rstrip()
        for name in fields.split()
    )
    return f"... on {kind} {{ {' '.join(asked)} }}"


_SELECTIONS: Final = "\n".join(
    [
        "__typename ... on ExecutionEvent { sequence executionId timestamp traceId }",
        *(_selection(kind, fields) for kind, fields in FIELDS.items()),
    ]
)
WHOLE_EVENTS: Final = f"""subscription($id: ID!, $after: Sequence) {{
  executionEvents(executionId: $id, after: $after) {{
    {_SELECTIONS}
    ... on ResyncRequired {{ snapshot {{ lastSequence }} }}
  }}
}}"""
STORED_WHOLE_EVENTS: Final = f"""query($id: ID!, $first: Int!, $after: Sequence) {{
  execution(id: $id) {{
    events(first: $first, after: $after) {{
      nodes {{ {_SELECTIONS} }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}"""


def renamed(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event under the API's names."""
    return {name.removesuffix(_MARK): value for name, value in event.items()}
