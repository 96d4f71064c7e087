"""A store as one execution graph sees it: only its own runs are there to be taken over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery, StateStore

PAGE: Final = 100


async def family_of(
    store: StateStore, root: ExecutionID, page_size: int = PAGE
) -> list[ExecutionID]:
    """A run, its forks and children, and theirs; each behind what it comes from.

    Raises StorageError.
    """
    found = [root]
    for parent in found:
        query = ExecutionQuery(parent_id=parent, first=page_size)
        while True:
            page = await store.list_executions(query)
            found.extend(row.id for row in page.items)
            if not page.has_next or not page.items:
                break
            query = replace(query, after=page.items[-1].id)
    return found


def store_of(store: StateStore, family: Collection[ExecutionID]) -> StateStore:
    """The same store, but that no run outside of the family is told as active."""
    return cast("StateStore", _FamilyStore(store, frozenset(family)))


class _FamilyStore:
    """Passes everything on to the store, whatever the port has."""

    def __init__(self, store: StateStore, family: frozenset[ExecutionID]) -> None:
        self._store = store
        self._family = family

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def active(self) -> Sequence[ExecutionID]:
        return [each for each in await self._store.active() if each in self._family]
