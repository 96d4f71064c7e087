"""The commands that make, list and revoke tokens, their options and their help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli.credentials import give_tokens
from dipeo_server.cli.outcome import told_errors

Owner: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="Whose it is: what is done with it is done by NAME.")
]
TokenID: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="The id, as `list` shows it, or the whole token.")
]
RoleOption: TypeAlias = Annotated[
    options.Role, typer.Option("--role", case_sensitive=False, help="What it allows.")
]
Approver: TypeAlias = Annotated[
    bool, typer.Option("--approver", help="It also allows to decide barriers; no role does.")
]
ExpiresIn: TypeAlias = Annotated[
    str | None,
    typer.Option("--expires-in", metavar="TIME", help="Such as 12h or 90d.  [default: never]"),
]
KeptAt: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        "--url",
        metavar="URL",
        envvar="DIPEO_URL",
        help="Ask this server, with an admin's token.  [default: change the store itself]",
    ),
]

app = typer.Typer(
    name="tokens",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""\
Say who may do what at a server: make, list and revoke tokens.

A token has a name, which stands in the log of everything that is done with it, and a role:

\b
  viewer     looks at everything
  operator   also runs stored diagrams, and pauses, resumes, steps, retries, forks and aborts runs
  author     also writes diagrams, runs them unstored, and changes the graphs of runs
  admin      also makes and revokes tokens, reads the audit, and deletes runs

To decide barriers a token must be made with --approver, whatever its role. A server makes the first
token itself, when it starts: an admin's, which it prints once.

\b
Examples:
  dipeo-server tokens create ci --role operator --expires-in 90d
  dipeo-server tokens list --server http://127.0.0.1:8000
  dipeo-server tokens revoke 4fPq0Zk81LtA

While a server has the store open, name it with --server: it alone changes its store.
""",
)


@app.command()
def create(  # noqa: PLR0913 - one parameter for each option of the command
    name: Owner,
    *,
    role: RoleOption = options.Role.VIEWER,
    approver: Approver = False,
    expires_in: ExpiresIn = None,
    server: KeptAt = None,
    store: options.ServedStore = None,
    base_dir: options.BaseDir = None,
    as_json: options.Json = False,
) -> None:
    """Make a token, and print it: it is kept nowhere, and never shown again.

    \b
    Examples:
      dipeo-server tokens create ann --role author --approver
      DIPEO_TOKEN=$(dipeo-server tokens create ci --role operator --expires-in 1h)

    Exit codes: 0 made, 1 refused, 2 wrong usage, 75 a server has the store open.
    """
    from dipeo_server.cli import tokens

    with told_errors():
        place = tokens.Place(server, store, base_dir, as_json=as_json)
        wish = tokens.Wish(name, role.value, is_approver=approver, expires_in=expires_in)
        code = tokens.create(place, wish)
    raise typer.Exit(code)


@app.command("list")
def list_(
    *,
    server: KeptAt = None,
    store: options.ServedStore = None,
    base_dir: options.BaseDir = None,
    as_json: options.Json = False,
) -> None:
    """List all tokens that were ever made: whose, what they allow, when they were used.

    \b
    Examples:
      dipeo-server tokens list
      dipeo-server tokens list --json | jq '.tokens[] | select(.isValid) | .name'

    Exit codes: 0 listed, 1 refused, 2 wrong usage, 75 a server has the store open.
    """
    from dipeo_server.cli import tokens

    with told_errors():
        code = tokens.show(tokens.Place(server, store, base_dir, as_json=as_json))
    raise typer.Exit(code)


@app.command()
def revoke(
    token_id: TokenID,
    *,
    server: KeptAt = None,
    store: options.ServedStore = None,
    base_dir: options.BaseDir = None,
    as_json: options.Json = False,
) -> None:
    """Make a token worthless at once; whoever is connected by it is cut off.

    \b
    Example:
      dipeo-server tokens revoke 4fPq0Zk81LtA --server http://127.0.0.1:8000

    Exit codes: 0 revoked (or it was already), 1 refused, 2 wrong usage, or no such token, 75 a
    server has the store open.
    """
    from dipeo_server.cli import tokens

    with told_errors():
        code = tokens.revoke(tokens.Place(server, store, base_dir, as_json=as_json), token_id)
    raise typer.Exit(code)


def add_to(program: typer.Typer) -> None:
    """Make them commands of the program."""
    give_tokens(app)
    program.add_typer(app)
