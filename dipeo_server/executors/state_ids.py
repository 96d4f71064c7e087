"""Ids of states: UUIDs that sort by time, and how the events of a log name them."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

ROOT_ID: Final = UUID(int=0)
"""The first state of every graph."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ACTOR: Final = "state:"
_TICKS: Final = 4_096
_RANDOM_BITS: Final = 62


class StateIds:
    """Makes UUIDs of version 7, each later than the one before it, whatever the clock does."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> UUID:
        """An id of now."""
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        ticks = milliseconds * _TICKS + rest * _TICKS // 1_000_000
        self._last = max(ticks, self._last + 1)
        return _version_7(*divmod(self._last, _TICKS), secrets.randbits(_RANDOM_BITS))


def derived_id(at: datetime, text: str) -> UUID:
    """The id of what happened at that time: the same for the same text."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    milliseconds, rest = divmod((at - _EPOCH) // timedelta(microseconds=1), 1_000)
    number = int.from_bytes(digest, "big") % 2**_RANDOM_BITS
    return _version_7(milliseconds, rest * _TICKS // 1_000, number)


def actor_of(state_id: UUID) -> str:
    """How the events that make a state name it."""
    return f"{_ACTOR}{state_id}"


def state_of_actor(actor: str | None) -> UUID | None:
    """The state that an event names, or None."""
    if actor is None or not actor.startswith(_ACTOR):
        return None
    try:
        return UUID(actor.removeprefix(_ACTOR))
    except ValueError:
        return None


def _version_7(milliseconds: int, ticks: int, random: int) -> UUID:
    number = milliseconds << 80 | 0x7 << 76 | ticks << 64 | 0b10 << 62 | random
    return UUID(int=number)
