"""Freezes the histories that are not frozen yet: `python -m tests.histories.freeze`."""

from __future__ import annotations

import json

from tests.histories.folding import LOGS, RECORDED, read, summary, write
from tests.histories.scenarios import SCENARIOS


def main() -> None:
    """Write a log and its hashes for each new scenario; what is there is never written again."""
    LOGS.mkdir(exist_ok=True)
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for name, tell in SCENARIOS.items():
        file = LOGS / f"{name}.jsonl"
        if file.exists():
            continue
        write(file, tell().log)
        recorded[name] = summary(read(file))
        print(f"{name}: {recorded[name]['events']} events, {recorded[name]['status']}")
    text = json.dumps(dict(sorted(recorded.items())), indent=2)
    RECORDED.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
