"""`mutate` changes the graph of a run, or tells what that would come to."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.controlling import Control
from tests.cli.diagrams import GREETING


def changes(folder: Path, *mutations: object) -> str:
    path = folder / "changes.json"
    path.write_text(json.dumps(mutations))
    return str(path)


def test_a_change_is_told_before_it_is_made(control: Control, tmp_path: Path) -> None:
    run = control.left(GREETING, "--pause")
    file = changes(tmp_path, {"deleteNode": "greet"})
    asked = control("mutate", run, "--file", file, "--preview", "--json")
    assert asked.code == 0, asked.err
    assert "greet" not in asked.document["kept"]
    done = control("mutate", run, "--file", file)
    assert (done.code, done.out) == (0, f"PAUSED  {run}  revision 1\n"), done.err
    assert control("resume", run, "--revision-policy", "force").code == 0
    events = control.events(run)
    assert [e["revisionNumber"] for e in events if e["__typename"] == "DiagramMutated"] == [1]
    assert "greet" not in {e.get("nodeKey") for e in events}


def test_a_change_that_cannot_be_made_is_refused(control: Control, tmp_path: Path) -> None:
    run = control.left(GREETING, "--pause")
    file = changes(tmp_path, {"deleteNode": "nobody"})
    assert control("mutate", run, "--file", file, "--preview").code == 1
    control.refused("INVALID", "mutate", run, "--file", file)
    assert control("mutate", run, "--file", str(tmp_path / "none.json")).code == 2
    (tmp_path / "text.json").write_text("{}")
    assert control("mutate", run, "--file", str(tmp_path / "text.json")).code == 2
