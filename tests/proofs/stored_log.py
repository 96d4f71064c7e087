"""The log of a store as any other process sees it: what is committed, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proofs.nonces import nonces

Run = tuple[str, int, int]
"""(node, occurrence, attempt)"""


@dataclass(frozen=True)
class Logged:
    """An event: what it says of which NodeRun, and the nonces of the output that it brings.

    `durability` is that of the run, where this is its first event.
    """

    execution: str
    seq: int
    kind: str
    run: Run | None
    nonces: frozenset[str]
    durability: str | None


EVENTS = (
    "SELECT e.rowid, x.id, e.seq, e.kind, e.payload FROM events AS e "
    "JOIN executions AS x ON x.position = e.execution "
)
BEHIND = EVENTS + "WHERE e.rowid > ? ORDER BY e.rowid"
OF_ONE = EVENTS + "WHERE x.id = ? ORDER BY e.seq"


class StoredLog:
    """Reads a store beside its server, or after it; changes nothing."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def all(self, *, behind: int = 0) -> tuple[list[Logged], int]:
        """Every event committed behind that row, in the order of commits; and the last row."""
        rows = self.fetch(BEHIND, behind)
        return list(self._events(rows)), rows[-1][0] if rows else behind

    def of(self, execution: str) -> list[Logged]:
        """Every event of one execution that is committed by now."""
        return list(self._events(self.fetch(OF_ONE, execution)))

    def fetch(self, query: str, *values: object) -> list[Any]:
        """All rows of a query; with no server alive this opens the store as after any crash."""
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()

    def _events(self, rows: list[tuple[int, str, int, str, bytes]]) -> Iterator[Logged]:
        for _, execution, seq, kind, payload in rows:
            event = json.loads(payload)
            run = event.get("node_run")
            found = (run["node"], run["occurrence"], run["attempt"]) if run else None
            body = self._body(event["output"]) if kind == "node_completed" else None
            seen = frozenset(nonces(body))
            yield Logged(execution, seq, kind, found, seen, event.get("durability"))

    def _body(self, output: dict[str, Any]) -> Any:
        if output["blob"] is None:
            return output["body"]
        name = output["blob"]["hash"]
        blobs = self._store.with_name(f"{self._store.name}.blobs")
        return json.loads((blobs / name[:2] / name[2:]).read_bytes())
