"""The system's clock tells aware times and never goes back."""

from datetime import UTC, datetime

from dipeo_server.domains.execution.ports import Clock
from dipeo_server.runtime.clock import SystemClock


async def test_the_clock_tells_utc_and_waits() -> None:
    clock: Clock = SystemClock()
    before = clock.now()
    await clock.sleep(0)
    assert before.tzinfo is UTC
    assert before <= clock.now() <= datetime.now(UTC)


def test_monotonic_time_never_goes_back() -> None:
    clock = SystemClock()
    moments = [clock.monotonic() for _ in range(100)]
    assert moments == sorted(moments)
