"""What was used of late: so many things, and so many characters in all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Recent(Generic[K, T]):
    """Things by a key; what was used least recently goes first.

    Each counts for as many characters as it was made of: clients choose them, and together they
    must not fill the memory.
    """

    def __init__(self, count: int, characters: int) -> None:
        self._most = count
        self._room = characters
        self._things: OrderedDict[K, tuple[T, int]] = OrderedDict()

    def get(self, key: K) -> T | None:
        """The thing of that key, used once more; None if it is not there."""
        found = self._things.get(key)
        if found is None:
            return None
        self._things.move_to_end(key)
        return found[0]

    def keep(self, key: K, thing: T, characters: int) -> None:
        """Keep a thing in place of others."""
        self._drop(key)
        self._things[key] = (thing, characters)
        self._room -= characters
        while len(self._things) > self._most or self._room < 0:
            self._drop(next(iter(self._things)))

    def _drop(self, key: K) -> None:
        _, characters = self._things.pop(key, (None, 0))
        self._room += characters
