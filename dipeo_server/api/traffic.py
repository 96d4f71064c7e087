"""How many sockets and event streams a server has open, and how many subscriptions on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from dipeo_server.api.context import ApiLimits
from dipeo_server.domains.access.principal import Principal
from dipeo_server.errors import LimitExceeded


class Traffic:
    """The sockets and event streams of one server, each kind with a limit."""

    def __init__(self, limits: ApiLimits) -> None:
        self._limits = limits
        self._sockets = 0
        self._streams = 0
        self._subscriptions: Counter[str | None] = Counter()

    @contextmanager
    def socket(self) -> Iterator[None]:
        """The place of one socket. Raises LimitExceeded where there is none left."""
        if self._sockets >= self._limits.sockets:
            raise LimitExceeded(f"{self._sockets} sockets are open; more are not allowed.")
        self._sockets += 1
        try:
            yield
        finally:
            self._sockets -= 1

    @contextmanager
    def stream(self) -> Iterator[None]:
        """The place of one event stream. Raises LimitExceeded where there is none left."""
        if self._streams >= self._limits.event_streams:
            raise LimitExceeded(f"{self._streams} event streams are open; more are not allowed.")
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    @contextmanager
    def subscription(self, principal: Principal) -> Iterator[None]:
        """The place of one subscription. Raises LimitExceeded where there is none left.

        Whoever was not asked who they are only shares the server's places with all others.
        """
        most = self._limits.subscriptions
        if self._subscriptions.total() >= most:
            raise LimitExceeded(f"{most} subscriptions are open; more are not allowed.")
        most = self._limits.subscriptions_per_principal
        if principal.is_known and self._subscriptions[principal.name] >= most:
            message = f"{principal.name} has {most} subscriptions open; more are not allowed."
            raise LimitExceeded(message, hint="End some, or open fewer at once.")
        name = principal.name if principal.is_known else None
        self._subscriptions[name] += 1
        try:
            yield
        finally:
            self._subscriptions[name] -= 1
            if not self._subscriptions[name]:
                del self._subscriptions[name]
