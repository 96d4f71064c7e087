"""The commands of `dipeo-server`, their options and their help; heavy parts are loaded late."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dipeo_server import __version__
from dipeo_server.cli.outcome import told_errors
from dipeo_server.cli.policy import ApprovePolicy

app = typer.Typer(
    name="dipeo-server",
    help="Run diagrams durably, and let any GraphQL client watch and steer every run.",
    no_args_is_help=True,
    # Plain help: drawing it with rich takes longer than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Strategy(StrEnum):
    """What an unhandled failure does to the rest of the run."""

    FAIL_FAST = "FAIL_FAST"
    COLLECT = "COLLECT"
    COLLECT_PARTIAL = "COLLECT_PARTIAL"


class Auth(StrEnum):
    """Who may do what."""

    NONE = "none"


def main() -> None:
    """The entry point."""
    app()


def _version(*, is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"dipeo-server {__version__}")
        raise typer.Exit


@app.callback(
    epilog="""\
Start here:

\b
  dipeo-server run examples/loop.light.yaml     run a diagram in the terminal
  dipeo-server serve                            serve http://127.0.0.1:8000/graphql
  dipeo-server COMMAND --help                   what a command can do
"""
)
def top(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Run diagrams durably, and let any GraphQL client watch and steer every run."""


BaseDir = Annotated[
    Path | None,
    typer.Option(
        "--base-dir",
        metavar="DIR",
        help="Diagrams read and write files below this folder only.  [default: the current folder]",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; everything else goes to stderr.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to stdout."),
]


@app.command()
def serve(
    *,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Loopback addresses only.  [default: 127.0.0.1]"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65_535, help="0 = a free one.  [default: 8000]"),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            help="sqlite:PATH, a path, or memory:  [default: .dipeo/dipeo.db below --base-dir]",
        ),
    ] = None,
    base_dir: BaseDir = None,
    auth: Annotated[
        Auth, typer.Option(help="Who may do what: anybody on this machine.")
    ] = Auth.NONE,
) -> None:
    """Serve GraphQL over HTTP and WebSocket.

    Prints one line to stdout when it accepts connections; logs go to stderr. Runs that had not
    ended when the last server stopped go on. SIGTERM or Ctrl-C stops it; runs are kept.

    \b
    Examples:
      dipeo-server serve
      dipeo-server serve --port 0 --store memory:
      dipeo-server serve --base-dir ~/diagrams --store sqlite:/var/lib/dipeo/runs.db

    \b
    Then, in another terminal:
      curl -s http://127.0.0.1:8000/graphql -H 'content-type: application/json' \\
        -d '{"query": "{ serverInfo { version store } }"}'

    Exit codes: 0 stopped, 2 wrong usage, 75 the port is taken or the store is open elsewhere,
    78 an address that may not be listened on without authentication.
    """
    from dipeo_server.cli.serving import run_server

    assert auth is Auth.NONE
    raise typer.Exit(run_server(host=host, port=port, store=store, base_dir=base_dir))


@app.command()
def run(  # noqa: PLR0913 - one parameter for each option of the command
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The diagram.")],
    *,
    var: Annotated[
        list[str] | None,
        typer.Option(
            "--var",
            metavar="NAME=VALUE",
            help="Set an execution variable. VALUE is JSON if it parses, else text. Repeatable.",
        ),
    ] = None,
    answer: Annotated[
        list[str] | None,
        typer.Option(
            "--answer",
            metavar="NODE=VALUE",
            help="Answer a user_response node, or decide a barrier (approve, reject). Repeatable: "
            "several for one node answer its visits in order, the last one repeats.",
        ),
    ] = None,
    approve: Annotated[
        ApprovePolicy | None,
        typer.Option(
            help="At a barrier: ask you, approve it, or leave it waiting. auto never answers a "
            "user_response.  [default: ask on a terminal, else leave]"
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Pause after so many node runs."),
    ] = None,
    error_strategy: Annotated[
        Strategy | None,
        typer.Option(
            case_sensitive=False,
            help="What a failure that nothing handles does to the rest.  [default: FAIL_FAST]",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Use a running server instead of one for this run."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="STORE",
            help="Where the run is kept.  [default: a temporary file, deleted when the run ends]",
        ),
    ] = None,
    base_dir: BaseDir = None,
    as_json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors only.")
    ] = False,
) -> None:
    """Run a diagram and follow it to its end.

    A server is started for the run, on a free port of this machine, unless --server names one.
    On a terminal the nodes are shown as they run, in a pipe there is a line for each event. Ctrl-C
    aborts the run; a second one leaves at once.

    \b
    Examples:
      dipeo-server run examples/loop.light.yaml --var number=100
      dipeo-server run examples/approval.light.yaml --answer 'topic=Spring sale' --approve auto
      dipeo-server run examples/loop.light.yaml --json | jq .status

    Exit codes: 0 COMPLETED, 1 FAILED (or the server cannot be reached), 2 wrong usage or an
    invalid diagram, 3 ABORTED, 4 left WAITING for a person or PAUSED, 75 the store is open
    elsewhere.
    """
    from dipeo_server.cli.running import run as run_diagram
    from dipeo_server.cli.wishes import RunOptions

    options = RunOptions(
        file=file,
        server=server,
        variables=var or (),
        answers=answer or (),
        approve=approve,
        max_steps=max_steps,
        error_strategy=error_strategy,
        store=store,
        base_dir=base_dir or Path(),
        as_json=as_json,
        is_quiet=quiet,
    )
    raise typer.Exit(run_diagram(options))


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The diagrams.")],
    *,
    base_dir: BaseDir = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with diagrams, without running them.

    A line for each problem, as editors and compilers write it:
    file:line:column: severity CODE message (hint).

    \b
    Examples:
      dipeo-server validate examples/*.yaml
      dipeo-server validate new.light.yaml --json | jq '.files[].problems[].message'

    Exit codes: 0 every file can run (there may be warnings), 2 one cannot, or cannot be read.
    """
    from dipeo_server.cli.validation import validate_files

    raise typer.Exit(validate_files(files, base_dir or Path(), as_json=as_json))


@app.command("export-schema")
def export_schema(*, output: Output = None) -> None:
    """Print the GraphQL schema (SDL), with the node types that are installed.

    \b
    Example:
      dipeo-server export-schema --output schema.graphql
    """
    from dipeo_server.cli import printing

    with told_errors():
        printing.export_schema(output)


@app.command("export-nodes")
def export_nodes(*, output: Output = None) -> None:
    """Print the reference of all installed node types (Markdown).

    \b
    Example:
      dipeo-server export-nodes --output docs/nodes.md
    """
    from dipeo_server.cli import printing

    with told_errors():
        printing.export_nodes(output)
