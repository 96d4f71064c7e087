"""What checkpoints tell of themselves, and when a run takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import strawberry

from dipeo_server.api.types.described import object_type, one_of_type
from dipeo_server.api.types.paging import Node
from dipeo_server.domains.execution.checkpoint import (
    PRESETS,
    Checkpoint,
    CheckpointFailurePolicy,
    CheckpointPolicy,
    CheckpointPreset,
    CheckpointSettings,
    CheckpointTrigger,
    policy_of,
)
from dipeo_server.domains.execution.ids import Seq


@object_type
class CheckpointFacts(Node):
    """What is told of a checkpoint; the base of `Checkpoint`."""

    sequence: Seq = strawberry.field(description="The event behind which the state was kept.")
    trigger: CheckpointTrigger = strawberry.field(description="What it was taken for.")
    content_hash: str = strawberry.field(
        description="Hash of the whole state: the same state has the same."
    )
    graph_hash: str = strawberry.field(description="`contentHash` of the diagram that ran.")
    next_node: str | None = strawberry.field(
        description=(
            "Key of a node that runs, waits or comes next; `__complete__` behind the last one."
        )
    )
    size_bytes: int = strawberry.field(
        description="What it takes: less than the state where it is a difference to the one before."
    )
    created_at: datetime = strawberry.field(description="When it was taken.")


def checkpoint_facts(found: Checkpoint) -> dict[str, Any]:
    """The values of those fields."""
    return {
        "id": strawberry.ID(found.id),
        "sequence": found.at,
        "trigger": found.trigger,
        "content_hash": found.content_hash,
        "graph_hash": found.graph_hash,
        "next_node": found.next_node,
        "size_bytes": found.size_bytes,
        "created_at": found.created_at,
    }


@one_of_type
class CheckpointPolicyInput:
    """When a run takes checkpoints; `saveCheckpoint` takes one with any policy."""

    preset: CheckpointPreset | None = strawberry.field(
        default=strawberry.UNSET, description="A usual choice."
    )
    triggers: list[CheckpointTrigger] | None = strawberry.field(
        default=strawberry.UNSET, description="Whenever one of these is; none = never."
    )


def policy_from(given: CheckpointPolicyInput | None) -> CheckpointPolicy:
    """The policy that was asked for; nothing = CONSERVATIVE."""
    if given is None:
        return PRESETS[CheckpointPreset.CONSERVATIVE]
    if given.preset:
        return PRESETS[given.preset]
    return policy_of(frozenset(given.triggers or ()))


def settings_from(on_failure: CheckpointFailurePolicy | None) -> CheckpointSettings:
    """The settings of a run; nothing = CONTINUE."""
    return CheckpointSettings(on_failure=on_failure or CheckpointFailurePolicy.CONTINUE)


@dataclass(frozen=True, slots=True)
class CheckpointPage:
    """One page of a run's checkpoints, newest first; the whole list is short."""

    items: tuple[Checkpoint, ...]
    has_next: bool
    has_previous: bool
    total: int


def page_of(found: Sequence[Checkpoint], first: int, after: Seq | None) -> CheckpointPage:
    """So many behind (older than) the one at `after`."""
    rest = [each for each in reversed(found) if after is None or each.at < after]
    has_previous = len(rest) < len(found)
    return CheckpointPage(tuple(rest[:first]), len(rest) > first, has_previous, len(found))
