"""The clock port: the system's wall time, and its monotonic time for durations."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements the port Clock with the time of this machine."""

    def now(self) -> datetime:
        """Aware, UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        await asyncio.sleep(seconds)

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back, whatever happens to the wall time."""
        return time.monotonic()
