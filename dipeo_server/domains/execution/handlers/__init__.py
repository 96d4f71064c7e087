"""One file per node type; this is the door for their authors."""

from __future__ import annotations

from dipeo_server.domains.diagram.spec import NodeProps, Ports
from dipeo_server.domains.execution.output import (
    SKIP_BRANCH,
    HandlerResult,
    NodeOutput,
    create_node_output,
)
from dipeo_server.domains.execution.registry import node_handler

__all__ = [
    "SKIP_BRANCH",
    "HandlerResult",
    "NodeOutput",
    "NodeProps",
    "Ports",
    "create_node_output",
    "node_handler",
]
