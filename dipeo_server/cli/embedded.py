"""A server for one command, in its own process on a free loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

from dipeo_server.api.http import create_routes
from dipeo_server.app import backend
from dipeo_server.server import config_for, listen
from dipeo_server.settings import Settings

HOST = "127.0.0.1"


@contextlib.asynccontextmanager
async def embedded_server(settings: Settings) -> AsyncIterator[str]:
    """Serve as long as the block lasts; gives the URL of the GraphQL endpoint.

    Raises StoreLocked, StorageError, InvalidInput.
    """
    async with backend(settings) as services:
        with listen(HOST, 0) as listening:
            server = _Server(config_for(Starlette(routes=create_routes(services))))
            serving = asyncio.create_task(server.serve(sockets=[listening]), name="server")
            await server.ready.wait()
            try:
                yield f"http://{HOST}:{listening.getsockname()[1]}/graphql"
            finally:
                server.stopping.set()
                await serving


class _Server(uvicorn.Server):
    """Leaves the signals of the process to the command."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.stopping = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @override
    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
