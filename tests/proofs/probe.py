"""One real server process under observation: what it holds, sampled, and how that develops."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from itertools import combinations
from pathlib import Path

from tests.cli.processes import environment

SECONDS_MAX = 60


@dataclass(frozen=True)
class Sample:
    """What a server held at one moment; sizes in KiB."""

    seconds: int
    memory: int
    heap: int
    files: int
    threads: int
    tasks: int
    objects: int
    wal: int
    store: int
    runs: int


class Probe:
    """A server, and how to look into it."""

    def __init__(self, process: subprocess.Popen[str], store: Path) -> None:
        self._process = process
        self._store = store
        self._proc = Path(f"/proc/{process.pid}")
        self.url = self._line()

    def sample(self, seconds: float, runs: int) -> Sample:
        """What it holds now, at that time of the test, behind so many runs."""
        status = dict(
            line.split(":\t", 1) for line in (self._proc / "status").read_text().splitlines()
        )
        figures = self._ask("figures")
        return Sample(
            seconds=int(seconds),
            memory=int(status["VmRSS"].split()[0]),
            heap=figures["heap"],
            files=sum(1 for _ in (self._proc / "fd").iterdir()),
            threads=int(status["Threads"]),
            tasks=figures["tasks"],
            objects=figures["objects"],
            wal=kibibytes(self._store.with_name(f"{self._store.name}-wal")),
            store=kibibytes(self._store),
            runs=runs,
        )

    def types(self) -> Counter[str]:
        """What it holds now by types, once nothing waits to be collected."""
        return Counter(self._ask("types"))

    def _ask(self, question: str) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        found = json.loads(self._line())
        assert isinstance(found, dict)
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server is gone"
        return line.strip()


@contextmanager
def probed(store: Path, base_dir: Path, log: Path) -> Iterator[Probe]:
    """A server as long as the block lasts; what it tells about itself goes to `log`."""
    script = Path(__file__).with_name("probed_server.py")
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(script), str(store), str(base_dir)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Probe(process, store)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=SECONDS_MAX) == 0, log.read_text()
        finally:
            process.kill()


def kibibytes(path: Path) -> int:
    """The size of a file; 0 where there is none."""
    return path.stat().st_size // 1024 if path.exists() else 0


def table(samples: Sequence[Sample]) -> str:
    """The samples, one a line."""
    names = [each.name for each in fields(Sample)]
    rows = [names, *([f"{value:,}" for value in astuple(sample)] for sample in samples)]
    return "\n".join("".join(f"{cell:>12}" for cell in row) for row in rows)


def growth(samples: Sequence[Sample], name: str) -> float:
    """How much more there is at the end than at the beginning, by the median of all slopes.

    Theil-Sen: up to three tenths of the samples may lie anywhere and change nothing.
    """
    points = [(sample.seconds, getattr(sample, name)) for sample in samples]
    slopes = [(y - x) / (b - a) for (a, x), (b, y) in combinations(points, 2) if b > a]
    return float(statistics.median(slopes) * (points[-1][0] - points[0][0]))
