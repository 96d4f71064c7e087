"""The command that forks a run of a server, its options and its help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli import remote_options as remote

At: TypeAlias = Annotated[
    int,
    typer.Option(
        "--at", metavar="SEQUENCE", min=1, help="The last event that the fork has of the run."
    ),
]
Outputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        metavar="NODE=VALUE",
        help="Another result of a node. VALUE is JSON if it parses, else text. Repeatable.",
    ),
]
Pause: TypeAlias = Annotated[
    bool, typer.Option("--pause", help="Hold the fork before anything runs.")
]


def fork(  # noqa: PLR0913 - one parameter for each option of the command
    execution: remote.Execution,
    *,
    at: At,
    var: options.Variables = None,
    output: Outputs = None,
    pause: Pause = False,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Go on as another run from an earlier point of one.

    That run does not change. The fork has its events up to --at and goes on from there: what had
    ended does not run again, what ran then does, who was asked is asked again. A result that is
    given takes the place of the node's, wherever that was not used yet; a node that has not run
    will not run, but have it. `dipeo-server events ID` tells the sequences.

    \b
    Examples:
      dipeo-server fork exec_0_abc --at 12
      dipeo-server fork exec_0_abc --at 12 --var limit=5 --output 'draft=Dear all, …'
      dipeo-server fork exec_0_abc --at 12 --pause

    Exit codes: 0 it has begun, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import forking
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    wish = forking.Wish(at, var or (), output or (), is_paused=pause)
    raise typer.Exit(forking.fork(server, execution, wish))


def add_to(app: typer.Typer) -> None:
    """Make it a command of the program."""
    app.command()(fork)
