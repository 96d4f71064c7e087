"""The command that changes the graph of a run of a server, its options and its help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli import remote_options as remote

Changes: TypeAlias = Annotated[
    str,
    typer.Option("--file", metavar="FILE", help="A JSON list of changes; - is standard input."),
]
Preview: TypeAlias = Annotated[
    bool, typer.Option("--preview", help="Only tell what the changes would come to.")
]


def mutate(
    execution: remote.Execution,
    *,
    file: Changes,
    preview: Preview = False,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Let a run that has not ended go on with another graph.

    Each change is an object with one of upsertNode, deleteNode, upsertEdge and deleteEdge; all are
    made, or none. What has run stays so, what is to come runs as the new graph has it. A node that
    runs or waits, and a loop that has begun, stay as they are.

    \b
    Examples:
      dipeo-server mutate exec_0_abc --file changes.json --preview
      dipeo-server mutate exec_0_abc --file changes.json
      echo '[{"deleteNode": "review"}]' | dipeo-server mutate exec_0_abc --file -

    Exit codes: 0 changed, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import mutating
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    raise typer.Exit(mutating.mutate(server, execution, file, is_preview=preview))


def add_to(app: typer.Typer) -> None:
    """Make it a command of the program."""
    app.command()(mutate)
