"""What runs in a process that gets killed: diagrams that are created and changed without end."""

from __future__ import annotations

import asyncio
import itertools
from multiprocessing.connection import Connection
from pathlib import Path

from dipeo_server.storage.sqlite import SQLiteStore
from tests.storage.diagram_conformance import diagram, draft, key
from tests.storage.records import NOON

DIAGRAMS = 8


def keep_until_killed(path: Path, acks: Connection) -> None:
    """Tell (diagram, newest revision) after every change that has returned."""
    asyncio.run(_keep(path, acks))


async def _keep(path: Path, acks: Connection) -> None:
    store = await SQLiteStore.open(path)

    async def change(number: int) -> None:
        id_ = diagram(number)
        known = await store.diagrams.find(id_)
        for revision in itertools.count(known.head.number + 1 if known else 1):
            wish, used = draft(f"{number}/{revision}"), key(f"{number}/{revision}")
            if revision == 1:
                await store.diagrams.create(id_, wish, at=NOON, key=used)
            else:
                await store.diagrams.update(id_, wish, expected=revision - 1, at=NOON, key=used)
            acks.send((number, revision))

    await asyncio.gather(*map(change, range(DIAGRAMS)))
