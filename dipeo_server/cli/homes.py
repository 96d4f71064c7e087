"""Where a run runs: at a server that is there already, or at one of this command's own."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dipeo_server.cli.wishes import RunOptions


@dataclass(slots=True)
class Home:
    """`store` is None at a server of somebody else.

    `has_active_run` is set by whoever leaves a run that has not ended: its store is kept then.
    """

    url: str
    store: str | None = None
    has_active_run: bool = False


@asynccontextmanager
async def home_for(options: RunOptions) -> AsyncIterator[Home]:
    """The server for one run. Raises StoreLocked, StorageError, InvalidInput."""
    if options.server is not None:
        yield Home(options.server)
    elif options.store is not None:
        async with _own(options.base_dir, options.store) as home:
            yield home
    else:
        folder = Path(tempfile.mkdtemp(prefix="dipeo-run-"))
        home = Home("")
        try:
            async with _own(options.base_dir, f"sqlite:{folder / 'dipeo.db'}") as home:
                yield home
        finally:
            if not home.has_active_run:
                shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _own(base_dir: Path, store: str) -> AsyncIterator[Home]:
    # With --server no server is needed here, and loading one takes most of a second.
    from dipeo_server.cli.embedded import embedded_server
    from dipeo_server.cli.logs import log_to_stderr
    from dipeo_server.cli.server_settings import settings_from

    log_to_stderr(logging.WARNING)
    settings = settings_from(base_dir=base_dir, store=store, auth="none")
    async with embedded_server(settings) as url:
        yield Home(url, store)
