"""One measurement in a process of its own: `python -m bench.child CONTESTANT MODE WORKLOAD SIZE`.

Prints one line of JSON: seconds of the timed part, seconds to prepare, peak memory in KiB.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.shapes import workload

STATUS = Path("/proc/self/status")


async def measured(contestant: str, mode: str, name: str, size: int) -> dict[str, Any]:
    """Warm up on a tenth, then measure. Raises AssertionError for a wrong result."""
    module = importlib.import_module(f"bench.contestants.{contestant}")
    work = workload(name, size)
    with tempfile.TemporaryDirectory() as folder:
        async with module.opened(mode, Path(folder)) as prepare:
            await prepare(workload(name, max(size // 10, 40))).run()
            began = time.perf_counter()
            job = prepare(work)
            prepared = time.perf_counter() - began
            gc.collect()
            began = time.perf_counter()
            await job.run()
            seconds = time.perf_counter() - began
            peak = peak_kib()
            results = set(await job.results())
    assert results == {work.result}, f"{contestant} {mode} {name}: {results}, not {work.result}"
    return {"seconds": seconds, "prepared": prepared, "kib": peak}


def peak_kib() -> int:
    """The most memory this process ever had, without what it was forked from where that is told."""
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    _, contestant, mode, name, size = sys.argv
    print(json.dumps(asyncio.run(measured(contestant, mode, name, int(size)))))
