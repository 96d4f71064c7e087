"""A server killed with -9 under load, in both durabilities: nothing it told is lost or repeated.

Every node gives a nonce that no second run could give, and effects tell on which nonces they rest.
So whatever was ahead of the disk is found: effects by who hears of them, at once, and all the rest
by comparing it with the log behind every life.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import dipeo
from tests.proofs.ledger import ENDS, Ledger
from tests.proofs.lives import Told, Troubles, kennel, last_life, one_life, wanted
from tests.proofs.stored_log import StoredLog
from tests.proofs.witness import witness


async def survive(folder: Path, seed: int, kills: int) -> None:
    """Kill the server so many times, let it finish, and look behind each life at what it left."""
    told, store = Told(), folder / "store.db"
    async with witness(store) as outside, httpx.AsyncClient(timeout=20, trust_env=False) as http:
        troubles = Troubles(told, random.Random(seed), http)
        with kennel(folder, outside.port) as home:
            ledger = Ledger(store, home.trace, outside, told)
            for life in range(kills):
                await one_life(home, troubles, life)
                assert ledger.audit() == [], f"behind life {life}"
            await last_life(home, troubles, 120)
        assert ledger.audit() == [], "behind the last life"
        print(
            f"{len(ledger.last)} runs, {len(ledger.logged)} events, {len(outside.effects)} effects"
        )
        print(f"{ledger.again} pure visits again, {len(told.hearsay.events)} runs followed")
    check_ends(store, ledger, told)
    assert set(ledger.durability.values()) == {"ADAPTIVE", "STRICT"}, "one was not tried"
    assert outside.effects, "nothing had an effect"
    assert told.hearsay.ended, "nobody was told anything"
    verified = await asyncio.to_thread(dipeo, "verify", "--store", store)
    assert verified.code == 0, verified.out


def check_ends(store: Path, ledger: Ledger, told: Told) -> None:
    """Every run ended as it must; each key started one, as it was wanted."""
    rows = StoredLog(store).fetch("SELECT id, name, status, last_seq FROM executions")
    found = {identity: (name, status, seq) for identity, name, status, seq in rows}
    assert sorted(told.started.values()) == sorted(found), "each key started exactly one run"
    for key, identity in told.started.items():
        name, status, seq = found[identity]
        assert name == key
        assert ledger.durability[identity] == wanted(key)["durability"]
        assert status == ("ABORTED" if identity in told.aborted else status)
        assert status in {"COMPLETED", "ABORTED"}
        assert (ledger.last[identity].seq, ledger.last[identity].kind in ENDS) == (seq, True)
    assert told.hearsay.ended == set(told.hearsay.events)
    for identity in told.hearsay.ended:
        assert len(told.hearsay.events[identity]) == ledger.last[identity].seq


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
async def test_twenty_five_kills_lose_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    await survive(tmp_path, seed, kills=25)


@pytest.mark.prove
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", range(100, 110))
async def test_fifty_more_kills_lose_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    await survive(tmp_path, seed, kills=50)
