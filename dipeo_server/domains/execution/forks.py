"""The fact that an execution goes on from another one: its log is that one's up to a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.interventions import GivenOutput


@dataclass(frozen=True, slots=True)
class ExecutionForked:
    """From here on the log is a fork's own; `origin` has everything up to `forked_at`.

    `left_at` is the time of the origin's last shared event: between that and this event no time
    has passed for the run. `parent_id` and `parent` are set where the run goes on as the child of
    a visit. `initial` holds results for nodes that have not run, by their keys.
    """

    execution_id: ExecutionID
    origin: ExecutionID
    forked_at: Seq
    left_at: datetime
    actor: str | None = None
    parent_id: ExecutionID | None = None
    parent: NodeRun | None = None
    initial: Mapping[str, GivenOutput] = field(default_factory=dict)
    kind: Literal["execution_forked"] = "execution_forked"
