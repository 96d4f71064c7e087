"""The commands that look at runs of a server, their options and their help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli import remote_options as remote

Status: TypeAlias = Annotated[
    str | None,
    typer.Option("--status", metavar="STATUS,…", help="Only runs that stand so: paused,waiting."),
]
Active: TypeAlias = Annotated[bool, typer.Option("--active", help="Only runs that have not ended.")]
Limit: TypeAlias = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, help="How many at most, the newest first.")
]
After: TypeAlias = Annotated[
    int, typer.Option("--after", metavar="SEQUENCE", min=0, help="Only events behind this one.")
]
Node: TypeAlias = Annotated[
    str | None, typer.Option("--node", metavar="NODE", help="Only of this node: its key or label.")
]


def executions(
    *,
    status: Status = None,
    active: Active = False,
    limit: Limit = 20,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """List runs, the newest first.

    \b
    Examples:
      dipeo-server executions --active
      dipeo-server executions --status paused,waiting --json | jq -r '.executions[].id'

    Exit codes: 0 listed, 1 no server there, 2 wrong usage.
    """
    from dipeo_server.cli import watching
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json)
    code = watching.list_executions(server, status=status, is_active=active, limit=limit)
    raise typer.Exit(code)


def events(
    execution: remote.Execution,
    *,
    follow: remote.Follow = False,
    after: After = 0,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: remote.JsonLines = False,
) -> None:
    """Tell what has happened in a run.

    With --follow also what happens, to its end. Each event comes once and in order, however often
    the connection is lost.

    \b
    Examples:
      dipeo-server events exec_0_abc
      dipeo-server events exec_0_abc --follow --json | jq -r .__typename

    Exit codes: 0 told, 1 no such run or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import watching
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json)
    raise typer.Exit(watching.show_events(server, execution, after=after, is_following=follow))


def logs(
    execution: remote.Execution,
    *,
    node: Node = None,
    follow: remote.Follow = False,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: remote.JsonLines = False,
) -> None:
    """Tell what the nodes of a run printed.

    With --follow also what they print, to its end.

    \b
    Examples:
      dipeo-server logs exec_0_abc
      dipeo-server logs exec_0_abc --follow --node 'fetch prices'

    Exit codes: 0 told, 1 no such run or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import watching
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json)
    raise typer.Exit(watching.show_logs(server, execution, node=node, is_following=follow))


def add_to(app: typer.Typer) -> None:
    """Make them commands of the program."""
    for command in (executions, events, logs):
        app.command()(command)
