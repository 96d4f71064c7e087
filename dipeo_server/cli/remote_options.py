"""Options of the commands that ask a running server."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import typer

DEFAULT_URL: Final = "http://127.0.0.1:8000/graphql"

Url: TypeAlias = Annotated[
    str,
    typer.Option(
        "--url",
        "--server",
        metavar="URL",
        envvar="DIPEO_URL",
        help="The server that keeps the run.",
    ),
]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="Idempotency key: the same command under the same key is done once, so a script may "
        "repeat it.  [default: a new one]",
    ),
]
Execution: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="The run: its id, as `executions` lists it.")
]
OptionalExecution: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="ID", help="Only of this run.")
]
NodeName: TypeAlias = Annotated[
    str, typer.Argument(metavar="NODE", help="The node: its key, or its label.")
]
OptionalReason: TypeAlias = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the run's log.")
]
Follow: TypeAlias = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on as more comes; Ctrl-C leaves.")
]
JsonLines: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print a JSON object a line; everything else to stderr.")
]
NoWait: TypeAlias = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait for the end of it; what is asked is done.")
]
