"""The commands that look back at runs of a server, their options and their help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli import remote_options as remote

At: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--at", metavar="SEQUENCE", min=1, help="Behind this event.  [default: the newest]"
    ),
]
Save: TypeAlias = Annotated[bool, typer.Option("--save", help="Take one now.")]
Prune: TypeAlias = Annotated[bool, typer.Option("--prune", help="Delete them.")]
Keep: TypeAlias = Annotated[
    int | None,
    typer.Option("--keep", metavar="N", min=0, help="With --prune: but not the newest so many."),
]
First: TypeAlias = Annotated[str, typer.Argument(metavar="A", help="A run, by its id.")]
Second: TypeAlias = Annotated[str, typer.Argument(metavar="B", help="Another one.")]


def state(
    execution: remote.Execution,
    *,
    at: At = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Tell how a run stands, or how it stood behind any event of its log.

    Statuses of its nodes, variables and outputs, as they were at that moment.

    \b
    Examples:
      dipeo-server state exec_0_abc
      dipeo-server state exec_0_abc --at 12 --json | jq .variables

    Exit codes: 0 told, 1 no such run or event, or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import looking_back
    from dipeo_server.cli.remote import Remote

    raise typer.Exit(looking_back.show_state(Remote(url, as_json=as_json), execution, at=at))


def diff(
    a: First,
    b: Second,
    *,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Tell how two runs differ: statuses, errors, variables, outputs, and where they part.

    Times, ids and who did it do not count, and neither does the order in which parallel nodes
    ended. Where they part is the first event that tells something else.

    \b
    Examples:
      dipeo-server diff exec_0_abc exec_0_def
      dipeo-server diff exec_0_abc exec_0_def --json | jq '.differences[].key'

    Exit codes: 0 they came to the same, 1 they did not, 2 wrong usage, no such run, or no server
    there.
    """
    from dipeo_server.cli import looking_back
    from dipeo_server.cli.remote import Remote

    raise typer.Exit(looking_back.show_differences(Remote(url, as_json=as_json), a, b))


def checkpoints(  # noqa: PLR0913 - the options of a command are its arguments.
    execution: remote.Execution,
    *,
    save: Save = False,
    prune: Prune = False,
    keep: Keep = None,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """List the checkpoints of a run, newest first; take one, or delete them.

    A checkpoint is the state behind an event, kept so that a long log need not be folded from its
    beginning. Without it nothing is lost but time.

    \b
    Examples:
      dipeo-server checkpoints exec_0_abc
      dipeo-server checkpoints exec_0_abc --save --json | jq .checkpoint.id
      dipeo-server checkpoints exec_0_abc --prune --keep 1

    Exit codes: 0 told, taken or deleted, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import checkpoints
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    if (keep is not None and not prune) or (prune and save):
        what = "--prune and --save" if save else "--keep without --prune"
        raise typer.BadParameter(f"{what} do not go together.")
    if prune:
        raise typer.Exit(checkpoints.prune_checkpoints(server, execution, keep or 0))
    act = checkpoints.save_checkpoint if save else checkpoints.list_checkpoints
    raise typer.Exit(act(server, execution))


def add_to(app: typer.Typer) -> None:
    """Make them commands of the program."""
    for command in (state, diff, checkpoints):
        app.command()(command)
