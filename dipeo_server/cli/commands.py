"""The commands of `dipeo-server`, their options and their help; heavy parts are loaded late."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipeo_server import __version__
from dipeo_server.cli import (
    decision_commands,
    deletion_commands,
    fork_commands,
    history_commands,
    mutating_commands,
    options,
    steering_commands,
    token_commands,
    upkeep_commands,
    watching_commands,
)
from dipeo_server.cli import remote_options as remote
from dipeo_server.cli.credentials import give_tokens
from dipeo_server.cli.outcome import told_errors

app = typer.Typer(
    name="dipeo-server",
    help="Run diagrams durably, and let any GraphQL client watch and steer every run.",
    no_args_is_help=True,
    # Plain help: drawing it with rich takes longer than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


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


@app.command()
def serve(  # noqa: PLR0913 - one parameter for each option of the command
    *,
    host: options.Host = None,
    port: options.Port = None,
    store: options.ServedStore = None,
    base_dir: options.BaseDir = None,
    auth: options.AuthOption = None,
    allowed_host: options.AllowedHosts = None,
    allowed_origin: options.AllowedOrigins = None,
    self_approval: options.SelfApproval = None,
    log_format: options.LogFormatOption = None,
) -> None:
    """Serve GraphQL over HTTP and WebSocket.

    Prints one line to stdout when it accepts connections; logs go to stderr. Runs that had not
    ended when the last server stopped go on. SIGTERM or Ctrl-C stops it; runs are kept.

    Whoever asks has to show a token, and may do what its role allows. A store without tokens gets
    one of an admin, which is printed to stderr once; `dipeo-server tokens` makes others. With
    --auth none anybody on this machine may do anything, and nobody else can reach the server.

    \b
    Examples:
      dipeo-server serve
      dipeo-server serve --auth none --port 0 --store memory:
      dipeo-server serve --host 0.0.0.0 --allowed-host diagrams.example.org
      dipeo-server serve --base-dir ~/diagrams --store sqlite:/var/lib/dipeo/runs.db

    \b
    Then, in another terminal:
      export DIPEO_TOKEN=dip_…
      dipeo-server run examples/loop.light.yaml --server http://127.0.0.1:8000
      curl -s http://127.0.0.1:8000/graphql -H "authorization: Bearer $DIPEO_TOKEN" \\
        -H 'content-type: application/json' -d '{"query": "{ serverInfo { version store } }"}'

    Exit codes: 0 stopped, 2 wrong usage, 75 the port is taken or the store is open elsewhere,
    78 an address that may not be listened on without authentication.
    """
    from dipeo_server.cli.serving import run_server

    code = run_server(
        host=host,
        port=port,
        store=store,
        base_dir=base_dir,
        auth=None if auth is None else auth.value,
        allowed_hosts=allowed_host,
        allowed_origins=allowed_origin,
        starters_approve=self_approval,
        log_format=None if log_format is None else log_format.value,
    )
    raise typer.Exit(code)


@app.command()
def run(  # noqa: PLR0913 - one parameter for each option of the command
    file: options.File,
    *,
    var: options.Variables = None,
    answer: options.AnswersOption = None,
    approve: options.Approve = None,
    max_steps: options.MaxSteps = None,
    max_tokens: options.MaxTokens = None,
    max_time: options.MaxTime = None,
    pause: options.Pause = False,
    break_: options.Breaks = None,
    error_strategy: options.ErrorStrategy = None,
    server: options.Server = None,
    store: options.RunStore = None,
    base_dir: options.BaseDir = None,
    log: options.Log = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
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
      dipeo-server run agents.light.yaml --max-tokens 50000 --break pay --server 127.0.0.1:8000

    Exit codes: 0 COMPLETED, 1 FAILED (or the server cannot be reached), 2 wrong usage or an
    invalid diagram, 3 ABORTED, 4 left WAITING for a person or PAUSED, 75 the store is open
    elsewhere.
    """
    from dipeo_server.cli.running import run as run_diagram
    from dipeo_server.cli.wishes import RunOptions

    wanted = RunOptions(
        file=file,
        server=server,
        variables=var or (),
        answers=answer or (),
        approve=approve,
        max_steps=max_steps,
        max_tokens=max_tokens,
        max_time=max_time,
        breakpoints=break_ or (),
        is_paused=pause,
        error_strategy=error_strategy,
        store=store,
        base_dir=base_dir or Path(),
        as_json=as_json,
        is_quiet=quiet,
        shows_log=log,
    )
    raise typer.Exit(run_diagram(wanted))


@app.command()
def validate(
    files: options.Files,
    *,
    base_dir: options.BaseDir = None,
    as_json: options.Json = False,
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


@app.command()
def render(  # noqa: PLR0913 - one parameter for each option of the command
    file: options.OptionalFile = None,
    *,
    to: options.To = None,
    output: options.Output = None,
    base_dir: options.BaseDir = None,
    run: options.DrawnRun = None,
    at: options.DrawnAt = None,
    graph: options.DrawnGraph = False,
    sub_diagrams: options.DrawnSubDiagrams = False,
    url: remote.Url = remote.DEFAULT_URL,
) -> None:
    """Draw a diagram, or a run: as DOT or Mermaid text, or as an image.

    Shapes tell kinds of nodes; edges say their port and condition; dashed edges are for failures,
    thick ones (↺) begin the next turn of a loop. A diagram that cannot run is drawn as far as it
    can be read. With --run the picture shows how each node of a run stands, or stood behind an
    event; with --graph the states it went through, and its forks; with --sub-diagrams those of its
    sub-diagrams and branches as well.

    \b
    Examples:
      dipeo-server render examples/loop.light.yaml --output loop.svg
      dipeo-server render --run exec_0_abc --at 12 --output then.png
      dipeo-server render examples/loop.light.yaml --to mermaid
      dipeo-server render examples/loop.light.yaml | dot -Tpdf > loop.pdf

    Exit codes: 0 drawn, 1 Graphviz is missing or failed (or no such run, or no server there), 2
    wrong usage, or the file cannot be read.
    """
    from dipeo_server.cli.rendering import DrawnRun, render_file, render_run

    with told_errors():
        wanted = DrawnRun(url, run, at, is_graph=graph, has_sub_diagrams=sub_diagrams)
        if run is not None and file is None:
            code = render_run(wanted, to=to, output=output)
        else:
            code = render_file(file, base_dir or Path(), to=to, output=output, beside=wanted)
    raise typer.Exit(code)


@app.command()
def convert(
    file: options.File,
    *,
    to: options.ToFormat = None,
    from_: options.FromFormat = None,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a diagram in another format; nothing of it is lost.

    light: YAML for people, nodes by label. readable: YAML that reads as a story, `flow` says what
    leads where. native: JSON for editors and programs, everything by id. Fields that a format does
    not know are kept in it, and so are keys: a run shows the same names whatever the format.
    Comments are not kept. A file that cannot be read as a whole is not converted.

    \b
    Examples:
      dipeo-server convert examples/loop.light.yaml --to readable
      dipeo-server convert examples/loop.light.yaml --output loop.native.json
      dipeo-server convert drawn.json --to light | less

    Exit codes: 0 converted, 2 wrong usage, the file cannot be read, or the format cannot hold it.
    """
    from dipeo_server.cli.conversion import convert_file

    with told_errors():
        code = convert_file(file, to=to, from_=from_, output=output, may_overwrite=overwrite)
    raise typer.Exit(code)


watching_commands.add_to(app)
history_commands.add_to(app)
steering_commands.add_to(app)
fork_commands.add_to(app)
mutating_commands.add_to(app)
decision_commands.add_to(app)
deletion_commands.add_to(app)
upkeep_commands.add_to(app)
token_commands.add_to(app)
give_tokens(app)


@app.command("export-schema")
def export_schema(*, output: options.Output = None) -> None:
    """Print the GraphQL schema (SDL), with the node types that are installed.

    \b
    Example:
      dipeo-server export-schema --output schema.graphql
    """
    from dipeo_server.cli import printing

    with told_errors():
        printing.export_schema(output)


@app.command("export-permissions")
def export_permissions(*, output: options.Output = None) -> None:
    """Print who may ask for which field of the schema (Markdown).

    \b
    Example:
      dipeo-server export-permissions --output docs/permissions.md
    """
    from dipeo_server.cli import printing

    with told_errors():
        printing.export_permissions(output)


@app.command("export-nodes")
def export_nodes(*, output: options.Output = None) -> None:
    """Print the reference of all installed node types (Markdown).

    \b
    Example:
      dipeo-server export-nodes --output docs/nodes.md
    """
    from dipeo_server.cli import printing

    with told_errors():
        printing.export_nodes(output)
