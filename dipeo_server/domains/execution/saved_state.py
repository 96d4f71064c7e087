"""An execution's state as a value, for those who drive it by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.state import NodeState
from dipeo_server.domains.execution.status import ExecutionStatus


@dataclass(frozen=True, slots=True)
class SavedState:
    """What an ExecutionContext holds, as a value: outputs in the order they came."""

    execution_id: ExecutionID
    diagram: ExecutableDiagram
    node_outputs: Mapping[str, Envelope] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    failed_nodes: frozenset[str] = frozenset()
    status: ExecutionStatus = ExecutionStatus.STARTED
    node_states: Mapping[str, NodeState] = field(default_factory=dict)
    start_time: datetime | None = None
    end_time: datetime | None = None
