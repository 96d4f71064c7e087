"""Who asks: bearer tokens, and how often one may get them wrong."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from graphql import GraphQLError

from dipeo_server.api.context import ApiServices
from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.access.principal import ANYBODY, Principal
from dipeo_server.domains.access.rates import Rate, RateLimiter
from dipeo_server.domains.access.tokens import id_of
from dipeo_server.errors import RateLimited, Unauthenticated

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="dipeo"'}
"""What a client that is not authenticated is told to do."""

WAIT_SECONDS_MAX: Final = 3_600
FAILURES_NOTED_MAX: Final = 60
"""Wrong tokens that are written down in a minute, wherever they come from: what nobody has let in
must not fill the store. (More, if a single address may try as often.)"""

_SCHEME: Final = "bearer"
_PREFIX_BITS: Final = 64
_UNKNOWN: Final = "unknown"
_ALL: Final = ""


class Authenticator:
    """Turns what a client sends into who it is; one for HTTP and WebSocket alike."""

    def __init__(self, services: ApiServices) -> None:
        self._access = services.access
        self._monotonic = services.monotonic
        most = services.limits.failed_authentications_per_minute
        self._failures = RateLimiter(Rate(most, 60.0))
        self._noted = RateLimiter(Rate(max(most, FAILURES_NOTED_MAX), 60.0))

    async def principal(
        self, authorization: str | None, address: str | None = None, request_id: str = ""
    ) -> Principal:
        """Whoever shows the token in `Bearer <token>`; anybody where no token is asked for.

        `address` is where the request comes from. A valid token always passes; who shows wrong
        ones too often is told to wait. Raises Unauthenticated, RateLimited.
        """
        if self._access is None:
            return ANYBODY
        if authorization is None:
            raise Unauthenticated("This server asks for a token.")
        scheme, _, text = authorization.strip().partition(" ")
        text = text.strip()
        token = self._access.token_of(text) if scheme.lower() == _SCHEME else None
        if token is not None:
            return token.principal
        await self._failed(text, neighbourhood(address), request_id)
        raise Unauthenticated("The token is not valid: wrong, expired or revoked.")

    async def _failed(self, text: str, place: str, request_id: str) -> None:
        now = self._monotonic()
        wait = self._failures.wait(place, now)
        if wait > 0:
            message = f"Too many tokens that are not valid came from {place}."
            hint = f"Try again in {whole_seconds(wait)} s."
            raise RateLimited(message, retry_after=wait, hint=hint)
        self._failures.take(place, now)
        if self._access is not None and not self._noted.wait(_ALL, now):
            self._noted.take(_ALL, now)
            # An id that nobody has given out may be a piece of some other secret.
            token_id = id_of(text)
            known = token_id is not None and self._access.has_known(token_id)
            attempt = Attempt("", token_id if known else None, "authenticate", request_id, place)
            await self._access.note(attempt, Unauthenticated.code)


def retry_after(errors: Iterable[GraphQLError] | None) -> dict[str, str] | None:
    """The header of an answer to what was tried too often; None where that is not the matter."""
    for error in errors or ():
        seconds = (error.extensions or {}).get("retryAfter")
        if isinstance(seconds, int):
            return {"Retry-After": str(seconds)}
    return None


def whole_seconds(wait: float) -> int:
    """Seconds as headers and people count them: whole ones, and enough of them."""
    return max(1, math.ceil(min(wait, WAIT_SECONDS_MAX)))


def authorization_of(payload: Mapping[str, Any] | None) -> str | None:
    """What the payload of `connection_init` has to say about who the client is."""
    if payload is None:
        return None
    found = next((payload[name] for name in payload if name.lower() == "authorization"), None)
    return found if isinstance(found, str) else None


def neighbourhood(address: str | None) -> str:
    """The address; of IPv6 the network, since whoever has one address there has them all."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return _UNKNOWN
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        if not found.is_loopback:
            return str(ipaddress.ip_network((found, _PREFIX_BITS), strict=False))
    return str(found)
