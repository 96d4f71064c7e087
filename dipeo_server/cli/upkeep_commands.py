"""The commands that keep a store healthy, their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli.outcome import told_errors

Target: TypeAlias = Annotated[
    Path, typer.Argument(metavar="TARGET", help="The file to copy to; there must be none yet.")
]
OlderThan: TypeAlias = Annotated[
    str,
    typer.Option(
        "--older-than",
        metavar="AGE",
        help="How long ago a run must have ended: a number and s, m, h, d or w.",
    ),
]
Statuses: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--status",
        metavar="STATUS,…",
        help="Only runs that ended so.  [default: completed,failed,aborted]",
    ),
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Delete nothing; say what would be deleted.")
]
Compact: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--compact",
        help="Give free space in the file back to the disk; needs as much again meanwhile.",
    ),
]


def verify(
    *,
    store: options.ServedStore = None,
    base_dir: options.BaseDir = None,
    as_json: options.Json = False,
) -> None:
    """Say whether everything in a store is what was written.

    Reads the whole store: its pages, every event (each has a hash over the one before it), the
    rows of executions against what follows from their events, answers to idempotency keys, stored
    diagrams, tokens, the audit (chained like events) and blobs. Log lines carry no checksum. Works
    beside a running server and changes nothing; a line on stdout for each damage names the
    execution and the event.

    \b
    Examples:
      dipeo-server verify
      dipeo-server verify --store /backups/runs.db --json | jq .damage

    Exit codes: 0 sound, 1 damaged, 2 wrong usage, or no store there.
    """
    from dipeo_server.cli import upkeep

    with told_errors():
        code = upkeep.verify(store, base_dir, as_json=as_json)
    raise typer.Exit(code)


def prune(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    older_than: OlderThan,
    status: Statuses = None,
    dry_run: DryRun = False,
    compact: Compact = False,
    store: options.ServedStore = None,
    base_dir: options.BaseDir = None,
    as_json: options.Json = False,
) -> None:
    """Delete old runs from a store that no server has open.

    A run goes as a whole: its events, log lines, answers to idempotency keys and sub-diagrams. A
    run below which something still runs is kept. Blobs that no event refers to any more go too.

    \b
    Examples:
      dipeo-server prune --older-than 30d --dry-run
      dipeo-server prune --older-than 12h --status failed,aborted
      dipeo-server prune --older-than 8w --compact --store /var/lib/dipeo/runs.db

    Exit codes: 0 done, 1 the store failed, 2 wrong usage, or no store there, 75 a server has the
    store open.
    """
    from dipeo_server.cli import upkeep

    with told_errors():
        wanted = upkeep.PruneOptions(
            older_than, status, is_dry_run=dry_run, is_compacting=compact, as_json=as_json
        )
        code = upkeep.prune(store, base_dir, wanted)
    raise typer.Exit(code)


def backup(
    target: Target,
    *,
    store: options.ServedStore = None,
    base_dir: options.BaseDir = None,
) -> None:
    """Copy a store, also while a server works on it.

    The copy is the store as of one moment, with the blobs that it needs in TARGET.blobs. It is
    verified before it gets its name: what is there is whole. To restore it, serve it.

    \b
    Examples:
      dipeo-server backup /backups/runs-$(date +%F).db
      dipeo-server backup copy.db --store /var/lib/dipeo/runs.db
      dipeo-server serve --store /backups/runs-2026-01-31.db

    Exit codes: 0 copied and verified, 1 the store is damaged or a disk failed, 2 wrong usage, no
    store there, or something at TARGET already.
    """
    from dipeo_server.cli import upkeep

    with told_errors():
        code = upkeep.backup(target, store, base_dir)
    raise typer.Exit(code)


def add_to(app: typer.Typer) -> None:
    """Make them commands of the program."""
    for command in (verify, prune, backup):
        app.command()(command)
