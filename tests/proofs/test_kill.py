"""A server killed with -9 under load loses nothing that it acknowledged, and repeats nothing."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from tests.proofs.lives import Told, kennel, last_life, one_life

Visit = tuple[str, str, int]
"""(execution, node, occurrence)"""


async def survive(folder: Path, seed: int, kills: int) -> None:
    """Kill the server so many times, let it finish, and look at everything it left."""
    rng, told = random.Random(seed), Told()
    with kennel(folder) as home:
        for life in range(kills):
            await one_life(home, told, rng, life)
        await last_life(home, told, 120)
    assert told.sequences, "nothing was acknowledged, so nothing was tried"
    with closing(sqlite3.connect(home.store)) as store:
        check_logs(store, told)
        check_repeats(store, home.trace)


def check_logs(store: sqlite3.Connection, told: Told) -> None:
    """Acknowledged runs are there, as far as was acknowledged; sequences have no gap."""
    rows = store.execute("SELECT position, id, status, last_seq FROM executions").fetchall()
    last = {identity: (status, seq) for _, identity, status, seq in rows}
    for identity, sequence in told.sequences.items():
        assert last[identity][1] >= sequence
    assert sorted(told.started.values()) == sorted(last), "each key started exactly one run"
    for identity in told.aborted:
        assert last[identity][0] == "ABORTED"
    assert {status for status, _ in last.values()} <= {"COMPLETED", "ABORTED"}
    for position, _, _, seq in rows:
        query = "SELECT seq, kind FROM events WHERE execution = ? ORDER BY seq"
        events = store.execute(query, (position,)).fetchall()
        assert [number for number, _ in events] == list(range(1, seq + 1))
        terminal = [kind for _, kind in events if kind.startswith("execution_") and kind in ENDS]
        assert len(terminal) == 1
        assert events[-1][1] in ENDS


ENDS = frozenset({"execution_completed", "execution_failed", "execution_aborted"})


def check_repeats(store: sqlite3.Connection, trace: Path) -> None:
    """No handler was entered again after its NodeRun was completed, no attempt entered twice."""
    entered: dict[Visit, list[int]] = defaultdict(list)
    for line in trace.read_text("utf-8").splitlines():
        execution, node, occurrence, attempt = line.split("\t")
        entered[execution, node, int(occurrence)].append(int(attempt))
    completed: dict[Visit, int] = {}
    query = (
        "SELECT x.id, e.payload FROM events AS e JOIN executions AS x ON x.position = e.execution "
        "WHERE e.kind = 'node_completed'"
    )
    for identity, payload in store.execute(query):
        run = json.loads(payload)["node_run"]
        visit = (identity, run["node"], run["occurrence"])
        assert visit not in completed, f"{visit} was completed twice"
        completed[visit] = run["attempt"]
    for visit, attempts in entered.items():
        assert max(Counter(attempts).values()) == 1, f"{visit} entered twice: {attempts}"
        if visit in completed:
            assert max(attempts) <= completed[visit], f"{visit} ran again after it was completed"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
async def test_twenty_five_kills_lose_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    await survive(tmp_path, seed, kills=25)


@pytest.mark.prove
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", range(100, 110))
async def test_fifty_more_kills_lose_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    await survive(tmp_path, seed, kills=50)
