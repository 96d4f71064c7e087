"""Logs that were written long ago fold to the same states, wherever and whenever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import pytest

from dipeo_server.domains.execution.checkpoint import CheckpointTrigger
from dipeo_server.domains.execution.events import (
    BarrierResolved,
    CheckpointSaved,
    EarlyDecisionChanged,
    Ending,
    Event,
    ExecutionStatusChanged,
    NodeOutputSet,
    PauseCause,
)
from dipeo_server.domains.execution.history import merged_history, state_at
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)
from tests.histories.folding import LOGS, RECORDED, read, state_hash, write
from tests.histories.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
EXPECTED: Final[Mapping[str, Mapping[str, Any]]] = json.loads(RECORDED.read_text())
NAMES = sorted(EXPECTED)


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_frozen_histories_fold_to_what_they_folded_to_then(seed: str) -> None:
    """G5: canonical JSON of the states, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.histories.folding"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == EXPECTED


def test_every_scenario_is_frozen_and_every_log_has_its_hashes() -> None:
    assert {file.stem for file in LOGS.glob("*.jsonl")} == set(NAMES)
    assert set(SCENARIOS) <= set(NAMES)


def test_they_show_runs_in_many_ways_to_stand() -> None:
    logs = [read(LOGS / f"{name}.jsonl") for name in NAMES]
    states = [state_at(log, log[-1].seq) for log in logs]
    runs = {state.status for state in states}
    nodes = {node.status for state in states for node in state.nodes}
    assert {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.ABORTED} <= runs
    assert set(NodeExecutionStatus) - nodes <= {NodeExecutionStatus.WAITING}


def test_they_show_every_kind_of_event_in_every_way() -> None:
    events = [recorded.event for name in NAMES for recorded in read(LOGS / f"{name}.jsonl")]
    assert {type(event) for event in events} == set(get_args(Event))
    saved = {event.trigger for event in events if isinstance(event, CheckpointSaved)}
    assert saved == set(CheckpointTrigger)
    made = [event for event in events if isinstance(event, EarlyDecisionChanged)]
    changes = get_args(get_type_hints(EarlyDecisionChanged)["change"])
    assert {event.change for event in made} == set(changes)
    given = {event.reason for event in events if isinstance(event, NodeOutputSet)}
    assert given == set(get_args(get_type_hints(NodeOutputSet)["reason"]))
    moved = [event for event in events if isinstance(event, ExecutionStatusChanged)]
    assert {event.cause for event in moved if event.cause} == set(PauseCause)
    endings = {event.ending.cause for event in moved if event.ending}
    assert endings == set(get_args(get_type_hints(Ending)["cause"]))
    resolved = {event.status for event in events if isinstance(event, BarrierResolved)}
    assert resolved == set(BarrierStatus) - {BarrierStatus.WAITING}


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_history_can_be_merged_up_to_any_event(name: str) -> None:
    log = read(LOGS / f"{name}.jsonl")
    for recorded in log:
        state = state_at(log, recorded.seq)
        merged = {each.key: each for each in merged_history(log[: recorded.seq])}
        values = {
            each.name: each.value
            for each in merged.values()
            if each.kind.value == "variables" and not each.is_deleted
        }
        assert values == dict(state.variables)
        assert all(1 <= each.sequence <= recorded.seq for each in merged.values())


def test_one_changed_value_changes_the_hash() -> None:
    log = read(LOGS / "chain.jsonl")
    hashes = [state_hash(state_at(log, Seq(at))) for at in range(1, len(log) + 1)]
    assert len(set(hashes)) == len(log)


def test_a_frozen_log_is_never_written_again(tmp_path: Path) -> None:
    log = read(LOGS / "chain.jsonl")
    file = tmp_path / "it.jsonl"
    write(file, log)
    assert read(file) == log
    with pytest.raises(FileExistsError):
        write(file, log)
