"""How slow this machine is at the moment, for promises with times."""

from __future__ import annotations

import statistics
import time

QUIET_SECONDS = 0.012
"""What the loop takes on an idle core of a server of these years."""
LOOPS = 5


def slowness() -> float:
    """How many times longer everything takes here than on an idle machine; 1 at least."""
    found = statistics.median(_loop() for _ in range(LOOPS))
    return max(1.0, found / QUIET_SECONDS)


def _loop() -> float:
    begun = time.perf_counter()
    total = 0
    for number in range(200_000):
        total += number % 7
    assert total
    return time.perf_counter() - begun
