"""Serves the application on a socket of its own: one line when ready, a clean end on SIGTERM."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import uvicorn
from starlette.applications import Starlette

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.http import create_routes
from dipeo_server.api.http_protocol import HttpProtocol
from dipeo_server.api.socket_protocol import SocketProtocol
from dipeo_server.app import backend
from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.access.ports import Access
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import NewToken, TokenDraft
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.errors import DipeoError
from dipeo_server.settings import Settings

FRAME_BYTES_MAX: Final = 1024 * 1024
SEND_BUFFER_BYTES: Final = 32 * 1024
"""Bounds what the kernel holds for a reader that does not read."""
GRACE_SECONDS: Final = 5
PING_SECONDS: Final = ApiLimits().socket_ping_seconds
HEAD_SECONDS: Final = ApiLimits().head_seconds
OPEN_FILES: Final = 16_384


class PortTaken(DipeoError):
    """Something else listens on the port."""

    code = "UNAVAILABLE"


class HostRefused(DipeoError):
    """Others reach the address, and nobody would be asked who they are."""

    code = "FORBIDDEN"


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready and that it stops; signals are our own matter."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], closing: asyncio.Event
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._closing = closing

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


class _Signals:
    """SIGTERM and SIGINT: the first one asks the server to stop, the second waits for nobody."""

    def __init__(self) -> None:
        self.has_come = False
        self.server: uvicorn.Server | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """As long as the block lasts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._come, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _come(self, number: signal.Signals) -> None:
        if self.has_come:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.has_come = True
        if self.server is not None:
            self.server.should_exit = True


async def serve(
    settings: Settings,
    on_ready: Callable[[str], None],
    registry: HandlerRegistry | None = None,
    on_first_token: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; calls `on_ready` with the base URL once it accepts.

    Where a token is asked for and the store has never had one, an admin's is made, and its text
    told to `on_first_token`.

    Raises PortTaken, HostRefused, StoreLocked, StorageError.
    """
    listening = listen(settings.host, settings.port, settings.auth)
    allow_open_files()
    signals = _Signals()
    with listening, signals.caught():
        host, port = listening.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        async with backend(settings, registry) as services:
            if services.access is not None and on_first_token is not None:
                await _tell_first_token(services.access, on_first_token)
            app = Starlette(routes=create_routes(services))
            url = f"http://{name}:{port}"
            limits = services.limits
            config = config_for(app, limits.socket_ping_seconds, limits.head_seconds)
            server = _Server(config, lambda: on_ready(url), services.closing)
            signals.server = server
            if not signals.has_come:
                await server.serve(sockets=[listening])


def allow_open_files(wanted: int = OPEN_FILES) -> None:
    """Let this process open more files, as far as it may: each socket is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def config_for(
    app: Starlette, ping_seconds: float = PING_SECONDS, head_seconds: int = HEAD_SECONDS
) -> uvicorn.Config:
    """How uvicorn serves us: strict, bounded, silent.

    Sockets are pinged every `ping_seconds`, and have as long to answer; the head of a request has
    `head_seconds` to come.
    """
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=SocketProtocol,
        ws_max_size=FRAME_BYTES_MAX,
        ws_per_message_deflate=False,
        ws_ping_interval=ping_seconds,
        ws_ping_timeout=ping_seconds,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=head_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


async def _tell_first_token(access: Access, tell: Callable[[str], None]) -> None:
    if access.all_tokens():
        return
    draft = TokenDraft("admin", Role.ADMIN, is_approver=True)
    made = await access.create(draft, Attempt("server", None, "firstToken", "start"))
    if isinstance(made, NewToken):
        tell(made.text)


def listen(host: str, port: int, auth: Literal["none", "token"] = "none") -> socket.socket:
    """A listening socket. Raises PortTaken, HostRefused."""
    check_host(host, auth)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        message = f"Cannot listen on {host} port {port}: {error.strerror}."
        raise PortTaken(message, hint="Give another --port; 0 takes a free one.") from error
    return listening


def is_loopback(host: str) -> bool:
    """Is it an address that only this machine reaches?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_host(host: str, auth: Literal["none", "token"]) -> None:
    """Raises HostRefused where others reach the address and nobody is asked who they are."""
    if auth == "none" and not is_loopback(host):
        message = (
            f"Refusing to listen on {host}: without authentication anybody who reaches this "
            "address could run diagrams, and so code, on this machine."
        )
        raise HostRefused(message, hint="Use --auth token, or --host 127.0.0.1.")
