"""How often something may be done: a bucket that fills at a steady rate; time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

BUCKETS_MAX: Final = 10_000
"""So many are remembered; the one that was used least recently goes first."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` at once, and as many again in `seconds`."""

    count: int
    seconds: float = 1.0

    @property
    def per_second(self) -> float:
        """How fast a bucket fills."""
        return self.count / self.seconds


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class RateLimiter:
    """A bucket for everybody, by name; times are those of one monotonic clock, in seconds."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, name: str, now: float, count: int = 1) -> float:
        """For how many seconds there is no room for `count`; 0 = there is now.

        More than fit into a bucket at all never have room: infinity.
        """
        if count > self.rate.count:
            return float("inf")
        bucket = self._filled(name, now)
        lacking = count - (self.rate.count if bucket is None else bucket.level)
        # A level that is short of a whole by a rounding error is whole.
        return lacking / self.rate.per_second if lacking > 1e-9 else 0.0

    def take(self, name: str, now: float, count: int = 1) -> None:
        """Note that it was done so many times."""
        bucket = self._filled(name, now)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(float(self.rate.count), now)
            while len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        bucket.level -= count
        self._buckets.move_to_end(name)

    def _filled(self, name: str, now: float) -> _Bucket | None:
        bucket = self._buckets.get(name)
        if bucket is not None:
            gained = max(0.0, now - bucket.at) * self.rate.per_second
            bucket.level = min(float(self.rate.count), bucket.level + gained)
            bucket.at = max(bucket.at, now)
        return bucket
