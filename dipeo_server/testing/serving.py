"""A real server for tests: HTTP and WebSocket on a free port, with a store of its own."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from dipeo_server.api.http import create_routes
from dipeo_server.app import backend
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.server import config_for, listen
from dipeo_server.settings import Settings
from dipeo_server.testing.client import Client


class Server(Client):
    """A server that is running, and a client of it; `base_dir` is where diagrams find files."""

    def __init__(self, url: str, base_dir: Path) -> None:
        super().__init__(url)
        self.base_dir = base_dir


class _Uvicorn(uvicorn.Server):
    """uvicorn in somebody else's loop: it says when it accepts, and leaves signals alone."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(config_for(app))
        self.accepts = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepts.set()


@asynccontextmanager
async def server(
    base_dir: Path | str | None = None,
    *,
    store: str = "memory:",
    registry: HandlerRegistry | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Server]:
    """Serve on a free port of this machine, in this loop: `async with server() as dipeo:`.

    Files are below `base_dir` (a temporary folder that goes with the server); runs are forgotten
    with it, unless `store` names a file. `registry` brings node types of your own; `settings` take
    the place of everything but the port.
    """
    async with AsyncExitStack() as opened:
        if base_dir is None:
            base_dir = opened.enter_context(tempfile.TemporaryDirectory(prefix="dipeo-"))
        chosen = settings or Settings(base_dir=Path(base_dir), store=store)
        services = await opened.enter_async_context(backend(chosen, registry))
        listening = opened.enter_context(listen("127.0.0.1", 0))
        running = _Uvicorn(Starlette(routes=create_routes(services)))
        serving = asyncio.create_task(running.serve(sockets=[listening]), name="test server")
        opened.push_async_callback(_stop, running, serving)
        opened.callback(services.closing.set)
        await running.accepts.wait()
        port = listening.getsockname()[1]
        found = Server(f"http://127.0.0.1:{port}/graphql", chosen.base_dir)
        await opened.enter_async_context(found)
        yield found


async def _stop(running: _Uvicorn, serving: asyncio.Task[None]) -> None:
    running.should_exit = True
    await serving


@contextmanager
def server_in_thread(
    base_dir: Path | str | None = None, *, store: str = "memory:"
) -> Iterator[str]:
    """The same for code without a loop: gives the URL of a server that runs in a thread.

    Raises what kept it from starting.
    """
    started: list[str | BaseException] = []
    is_ready, leave = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with server(base_dir, store=store) as running:
            started.append(running.url)
            is_ready.set()
            await leave.wait()

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it has to learn of it.
            started.append(error)
        finally:
            is_ready.set()

    thread = threading.Thread(target=work, name="dipeo-server", daemon=True)
    thread.start()
    is_ready.wait()
    url = started[0]
    if isinstance(url, BaseException):
        raise url
    try:
        yield url
    finally:
        loops[0].call_soon_threadsafe(leave.set)
        thread.join()
