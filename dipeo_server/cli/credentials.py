"""The token that a command shows to a server: an option of every command that asks one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any, Final, TypeAlias, get_type_hints

import typer

Token: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="DIPEO_TOKEN",
        help="Who is asking; others on this machine can read it here, so better set the variable.",
    ),
]

ASKING: Final = frozenset({"url", "server"})
"""Parameters that name a server."""

_shown: ContextVar[str | None] = ContextVar("_shown", default=None)


def shown_token() -> str | None:
    """The token that the command under way was given."""
    return _shown.get()


def give_tokens(app: typer.Typer) -> None:
    """Let every command that asks a server take a token."""
    for registered in app.registered_commands:
        command = registered.callback
        if command is not None and ASKING & inspect.signature(command).parameters.keys():
            registered.callback = _with_token(command)


def _with_token(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with one more option, which the clients that it makes will use."""
    signature = inspect.signature(command)
    option = inspect.Parameter(
        "token", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Token
    )

    @functools.wraps(command)
    def asking(*arguments: Any, token: str | None = None, **options: Any) -> Any:
        before = _shown.set(token or None)
        try:
            return command(*arguments, **options)
        finally:
            _shown.reset(before)

    # typer reads both; what is wrapped would give it the options of the command alone.
    del asking.__wrapped__
    hints = get_type_hints(command, include_extras=True)
    asking.__annotations__ = {**hints, "token": Token}
    given = [each.replace(annotation=hints[each.name]) for each in signature.parameters.values()]
    shown = signature.replace(parameters=[*given, option])
    asking.__signature__ = shown  # type: ignore[attr-defined] # read by inspect
    return asking
