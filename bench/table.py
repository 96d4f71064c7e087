"""The figures as tables of text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from bench import field
from bench.goals import Goal
from bench.growth import Growth
from bench.measure import Figures, Results
from bench.stored import BigStore


def lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be; numbers to the right of a first column of names."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for number, row in enumerate(table):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()
        if not number:
            yield "  ".join("-" * width for width in widths)


def engines(results: Results, names: Sequence[str]) -> Iterator[str]:
    """Nodes per second (best and median round), memory, and the ratio to the ideal engine."""
    for name in names:
        ideal = results.of(field.IDEAL_STRICT, name)
        ahead = results.of(field.IDEAL_AHEAD, name)
        header = (name, "nodes/s", "median", "us/node", "peak MiB", "x ideal", "x ideal ahead")
        found = [(each, results.of(each, name)) for each in field.ALL]
        rows = [_row(each.name, figures, ideal, ahead) for each, figures in found if figures]
        yield from lines(header, rows)
        yield ""
    for what, reason in results.skipped.items():
        yield f"skipped: {what}: {reason}"


def _row(
    name: str, figures: Figures, ideal: Figures | None, ahead: Figures | None
) -> tuple[str, ...]:
    count = figures.node_runs
    return (
        name,
        f"{count / figures.best:,.0f}",
        f"{count / figures.middle:,.0f}",
        f"{figures.best / count * 1e6:,.1f}",
        f"{figures.kib / 1024:,.0f}",
        f"{ideal.best / figures.best:.3f}" if ideal else "",
        f"{ahead.best / figures.best:.3f}" if ahead else "",
    )


def growth(grown: Iterable[Growth]) -> Iterator[str]:
    """Microseconds per node by size; beginning a run (compiling, starting) stands apart."""
    header = ("us/node, ADAPTIVE", "nodes", "run", "compile", "start", "first event, KiB")
    rows = [
        (each.shape, f"{size:,}", f"{run:.1f}", f"{made:.1f}", f"{begun:.1f}", f"{first >> 10:,}")
        for each in grown
        for size, run, made, begun, first in zip(
            each.sizes, each.run, each.compiling, each.starting, each.first_event, strict=True
        )
    ]
    yield from lines(header, rows)


def stores(seen: BigStore) -> Iterator[str]:
    """Milliseconds in an empty store and in a full one."""
    header = ("ms, by events stored", "none", f"{seen.events:,}", "ratio")
    rows = [
        (part, f"{seen.empty[part] * 1e3:.2f}", f"{seen.full[part] * 1e3:.2f}", f"{ratio:.2f}")
        for part, ratio in seen.ratios.items()
    ]
    yield from lines(header, rows)


def goals(wanted: Iterable[Goal]) -> Iterator[str]:
    """Each goal and how it stands."""
    rows = [
        (
            goal.what,
            f"{goal.value:.2f}",
            f"{'<=' if goal.is_limit else '>='} {goal.wanted:g}",
            "reached" if goal.is_reached else "NOT REACHED",
        )
        for goal in wanted
    ]
    yield from lines(("goal", "is", "wanted", ""), rows)


def show(text: Iterable[str]) -> None:
    """Print the lines, and one empty one behind them."""
    for line in text:
        print(line)
    print()
    sys.stdout.flush()
