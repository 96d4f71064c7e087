"""`python -m bench`: measure this engine beside others, and hold it against its goals."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import field, goals, growth, stored, table
from bench.measure import Results, compare
from bench.shapes import NAMES, SIZE

PARTS = (*NAMES, "growth", "store")


def main() -> None:
    """Measure what was asked for, print the tables, write the figures if a file is named."""
    asked = _arguments()
    parts = asked.only or list(PARTS)
    names = [name for name in NAMES if name in parts]
    figures: dict[str, Any] = {"machine": machine()}
    wanted: list[goals.Goal] = []
    if names:
        size = SIZE // 5 if asked.quick else SIZE
        results = compare(field.ALL, names, asked.rounds, size)
        table.show(table.engines(results, names))
        wanted += goals.engine_goals(results, names)
        figures["engines"] = _engines(results)
    if "growth" in parts:
        sizes = growth.SIZES[:2] if asked.quick else growth.SIZES
        grown = list(growth.measure(asked.rounds, sizes))
        table.show(table.growth(grown))
        wanted += goals.growth_goals(grown)
        figures["growth"] = [asdict(each) for each in grown]
    if "store" in parts:
        seen = stored.measure(asked.rounds, stored.EVENTS // (20 if asked.quick else 1))
        table.show(table.stores(seen))
        wanted += goals.store_goals(seen)
        figures["store"] = asdict(seen)
    table.show(table.goals(wanted))
    figures["goals"] = [{**asdict(goal), "is_reached": goal.is_reached} for goal in wanted]
    if asked.json is not None:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    parser.add_argument("--rounds", type=_count, default=3, help="rounds of everything [3]")
    parser.add_argument("--quick", action="store_true", help="a fifth of the size, to look around")
    parser.add_argument("--json", type=Path, help="write all figures, with the machine, to a file")
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    named: Sequence[str] = listing.read_text().splitlines() if listing.is_file() else ()
    models = (line.partition(":")[2].strip() for line in named if line.startswith("model name"))
    return next(models, platform.processor())


def _engines(results: Results) -> list[dict[str, Any]]:
    return [
        {"contestant": contestant, "workload": name, **asdict(figures)}
        for (contestant, name), figures in results.figures.items()
        if figures.seconds
    ]


if __name__ == "__main__":
    main()
