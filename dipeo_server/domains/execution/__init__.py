"""How a diagram executes: the public names for node authors and for the rooms above."""

from __future__ import annotations

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.envelope import ContentType, Envelope, EnvelopeFactory
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.output import (
    SKIP_BRANCH,
    NodeOutput,
    TokenUsage,
    WaitForPerson,
    WaitUntil,
    create_node_output,
)
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus

__all__ = [
    "SKIP_BRANCH",
    "ContentType",
    "Envelope",
    "EnvelopeFactory",
    "ExecutionContext",
    "ExecutionID",
    "ExecutionStatus",
    "NodeExecutionStatus",
    "NodeOutput",
    "NodeRun",
    "Seq",
    "TokenUsage",
    "WaitForPerson",
    "WaitUntil",
    "create_node_output",
]
