"""`dipeo-server serve`: a server until it is told to stop."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dipeo_server.cli.logs import log_to_stderr
from dipeo_server.cli.outcome import ExitCode, exit_code_of, tell_error
from dipeo_server.cli.server_settings import settings_from
from dipeo_server.errors import DipeoError
from dipeo_server.server import HostRefused, PortTaken, serve


def run_server(
    *, host: str | None, port: int | None, store: str | None, base_dir: Path | None
) -> ExitCode:
    """Serve until SIGTERM or Ctrl-C; None means what `DIPEO_*` or the default says."""
    log_to_stderr()
    try:
        settings = settings_from(host=host, port=port, store=store, base_dir=base_dir)
        asyncio.run(serve(settings, on_ready=_tell_ready))
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


def _tell_ready(url: str) -> None:
    sys.stdout.write(f"ready {url}/graphql\n")
    sys.stdout.flush()
