"""`dipeo-server serve`: a server until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Final

import structlog

from dipeo_server import __version__
from dipeo_server.cli.logs import log_to_stderr
from dipeo_server.cli.outcome import ExitCode, exit_code_of, tell, tell_error
from dipeo_server.cli.server_settings import settings_from
from dipeo_server.errors import DipeoError
from dipeo_server.runtime.secrets import secrets_from
from dipeo_server.server import HostRefused, PortTaken, is_loopback, serve
from dipeo_server.settings import Settings

DEFAULT_AUTH: Final = "token"

log = structlog.get_logger(__name__)


def run_server(**given: Any) -> ExitCode:
    """Serve until SIGTERM or Ctrl-C; `given` are settings, None = what `DIPEO_*` or default says.

    Nobody is let in without a token unless that is asked for.
    """
    try:
        settings = settings_from(**given)
        secrets = secrets_from(os.environ, settings.secrets_file)
        log_to_stderr(form=settings.log_format, clean=secrets.redactor.text)
        if "auth" not in settings.model_fields_set:
            settings = settings.model_copy(update={"auth": DEFAULT_AUTH})
        _warn(settings)
        greeting = _Greeting()
        asyncio.run(serve(settings, greeting.ready, on_first_token=greeting.first_token))
        log.info("server_stopped")
    except PortTaken as error:
        tell_error(error)
        return ExitCode.TRY_AGAIN_LATER
    except HostRefused as error:
        tell_error(error)
        return ExitCode.REFUSED_CONFIGURATION
    except DipeoError as error:
        tell_error(error)
        return exit_code_of(error)
    return ExitCode.COMPLETED


class _Greeting:
    """What a person who starts a server needs, on standard error; programs read the other line."""

    def __init__(self) -> None:
        self._token: str | None = None

    def first_token(self, text: str) -> None:
        """The token that was made, since there was none."""
        self._token = text

    def ready(self, url: str) -> None:
        """The server accepts connections."""
        if self._token is not None:
            tell(
                "This store had no tokens yet. Here is the first one, of an admin who is also an "
                "approver;\nit is shown this once:\n\n"
                f"    export DIPEO_TOKEN={self._token}\n\n"
                "The commands of dipeo-server read it there, and other clients send it as "
                "`Authorization: Bearer …`.\nIn a browser:\n\n"
                f"    {url}/graphiql#token={self._token}\n\n"
                "More: dipeo-server tokens --help"
            )
        log.info("server_started", url=url, version=__version__)
        sys.stdout.write(f"ready {url}/graphql\n")
        sys.stdout.flush()


def _warn(settings: Settings) -> None:
    """Tell what is allowed, and yet deserves a thought."""
    if is_loopback(settings.host) or settings.auth == "none":
        return
    tell(
        f"Warning: tokens travel to {settings.host} as they are, readable on the way. Put a proxy "
        "with TLS before this server where others could listen."
    )
    if not settings.allowed_hosts:
        tell(
            "Warning: clients must call it by a name of loopback, or by the address it listens on; "
            "--allowed-host NAME allows another."
        )
