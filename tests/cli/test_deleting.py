"""`delete` deletes a run of a server."""

from __future__ import annotations

from tests.cli.controlling import Control
from tests.cli.diagrams import GREETING


def test_a_run_is_deleted_once_it_has_ended(control: Control) -> None:
    run = control.left(GREETING, "--pause")
    refused = control.refused("INVALID_STATE", "delete", run)
    assert refused["hint"] == "Abort it first, or wait for its end."
    assert control("abort", run).code == 0
    deleted = control("delete", run)
    assert (deleted.code, deleted.out) == (0, f"deleted {run}\n"), deleted.err
    control.refused("NOT_FOUND", "delete", run)
