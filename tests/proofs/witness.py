"""Who hears of effects, and looks at once whether all that they rest on is durable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.proofs.stored_log import Run, StoredLog


@dataclass(frozen=True)
class Entry:
    """A handler was entered: by which NodeRun, resting on whose outputs with which nonces."""

    execution: str
    run: Run
    rests_on: tuple[tuple[str, int, frozenset[str]], ...]
    is_strict: bool

    @classmethod
    def read(cls, line: str | bytes) -> Entry:
        """The entry that a node wrote or told."""
        found = json.loads(line)
        node, occurrence, attempt = found["run"]
        rests_on = tuple((key, turn, frozenset(seen)) for key, turn, seen in found["rests_on"])
        run = (node, occurrence, attempt)
        return cls(found["execution"], run, rests_on, found["is_strict"])


class Witness:
    """Listens on a port; every effect is compared with the log in the moment that it happens."""

    def __init__(self, store: Path) -> None:
        self.effects: list[Entry] = []
        self.faults: list[str] = []
        self._log = StoredLog(store)
        self.port = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one effect; its node goes on when it was heard."""
        with suppress(ConnectionError):
            if line := await reader.readline():
                entry = Entry.read(line)
                self.effects.append(entry)
                self.faults.extend(self._ahead_of_disk(entry))
                writer.write(b"heard\n")
                await writer.drain()
        writer.close()

    def _ahead_of_disk(self, entry: Entry) -> Iterator[str]:
        """What the effect rests on, and a crash in this moment could take back."""
        events = self._log.of(entry.execution)
        if entry.run not in {each.run for each in events if each.kind == "node_started"}:
            yield f"{entry}: its start is not durable"
        for node, occurrence, seen in entry.rests_on:
            given = [
                each.nonces
                for each in events
                if each.kind == "node_completed" and each.run and each.run[:2] == (node, occurrence)
            ]
            if seen and not any(seen <= nonces for nonces in given):
                yield f"{entry}: what {node} gave is not durable"


@asynccontextmanager
async def witness(store: Path) -> AsyncIterator[Witness]:
    """A witness as long as the block lasts."""
    found = Witness(store)
    async with await asyncio.start_server(found.hear, "127.0.0.1", 0) as server:
        found.port = server.sockets[0].getsockname()[1]
        yield found
