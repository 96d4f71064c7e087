"""What runs in the processes that get killed: a store under load, and one that is only held."""

from __future__ import annotations

import asyncio
import itertools
import time
from multiprocessing.connection import Connection
from pathlib import Path

from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.records import execution, extend, keyed, line

EXECUTIONS = 8
EVENTS_PER_APPEND = 3


def append_until_killed(path: Path, acks: Connection) -> None:
    """Tell (execution, last sequence) after every append that has returned."""
    asyncio.run(_append(path, acks))


async def _append(path: Path, acks: Connection) -> None:
    store = await SQLiteStore.open(path)

    async def chain(number: int) -> None:
        known = await store.summary(execution(number))
        begin = known.last_seq if known is not None else 0
        for after in itertools.count(begin, EVENTS_PER_APPEND):
            key = keyed(f"{number}/{after}")
            await store.append_logs(execution(number), [line(str(after))])
            await extend(store, execution(number), EVENTS_PER_APPEND, after=after, keys=[key])
            acks.send((number, after + EVENTS_PER_APPEND))

    await asyncio.gather(*map(chain, range(EXECUTIONS)))


def hold_until_killed(path: Path, ready: Connection) -> None:
    """Open the store and do nothing."""
    asyncio.run(_hold(path, ready))


async def _hold(path: Path, ready: Connection) -> None:
    await SQLiteStore.open(path)
    ready.send(None)
    time.sleep(3_600)  # noqa: ASYNC251 - this process does nothing but hold the store.
