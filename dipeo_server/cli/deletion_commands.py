"""The command that deletes a run of a server, its options and its help."""

from __future__ import annotations

import typer

from dipeo_server.cli import options
from dipeo_server.cli import remote_options as remote


def delete(
    execution: remote.Execution,
    *,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Delete a run that has ended, for good.

    Its events, lines and checkpoints go, and the runs of its sub-diagrams with it. What forks go on
    from stays until they are deleted. Large outputs stay on the disk until `dipeo-server prune`.

    \b
    Example:
      dipeo-server delete exec_0_abc

    Exit codes: 0 it is gone, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import deleting
    from dipeo_server.cli.remote import Remote

    raise typer.Exit(deleting.delete(Remote(url, as_json=as_json, key=key), execution))


def add_to(app: typer.Typer) -> None:
    """Make it a command of the program."""
    app.command()(delete)
