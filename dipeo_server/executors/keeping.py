"""When the runs of an executor keep their states."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeAlias, TypeVar

from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.execution.checkpoint import (
    DELTAS_MAX,
    PRESETS,
    CheckpointFailurePolicy,
    CheckpointPolicy,
    CheckpointPreset,
    CheckpointSettings,
    CheckpointTrigger,
    policy_of,
)
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import InvalidInput
from dipeo_server.storage.memory import MemoryStore

Policy: TypeAlias = CheckpointPreset | str | Iterable[CheckpointTrigger | str] | None
"""A preset, or the triggers that take checkpoints; None = what the store is good for."""

_Member = TypeVar("_Member", bound=StrEnum)


def policy_for(given: Policy, store: StateStore) -> CheckpointPolicy:
    """The triggers; where nothing is given CONSERVATIVE, and none for a store in memory.

    Raises InvalidInput for names that there are not.
    """
    if given is None:
        is_lost = isinstance(store, MemoryStore)
        return () if is_lost else PRESETS[CheckpointPreset.CONSERVATIVE]
    if isinstance(given, str):
        return PRESETS[_named(CheckpointPreset, given)]
    return policy_of(frozenset(_named(CheckpointTrigger, each) for each in given))


def settings_of(
    on_failure: CheckpointFailurePolicy | str, delta_compact_threshold: int = DELTAS_MAX
) -> CheckpointSettings:
    """The settings of a run. Raises InvalidInput for less than no differences, and wrong names."""
    policy = _named(CheckpointFailurePolicy, on_failure, "checkpoint_failure")
    if delta_compact_threshold < 0:
        message = "delta_compact_threshold must be at least 0."
        hint = f"Behind so many differences a whole state is kept; usually {DELTAS_MAX}."
        raise InvalidInput(message, field=("delta_compact_threshold",), hint=hint)
    return CheckpointSettings(deltas_max=delta_compact_threshold, on_failure=policy)


def _named(kind: type[_Member], name: str, field: str = "policy") -> _Member:
    try:
        return kind(name.upper())
    except (ValueError, AttributeError):
        message = f"There is no {kind.__name__} {name!r}."
        hint = f"There are {listed([str(each) for each in kind])}."
        raise InvalidInput(message, field=(field,), hint=hint) from None
