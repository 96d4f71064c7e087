"""Who may talk to us from a browser: pages of this host, under a name that it answers to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from strawberry.http.websocket_origin import is_same_origin, normalize_origin

_OWN_SITES: Final = frozenset({"none", "same-origin"})
"""What browsers say of the page behind a request that is our own, or none at all."""


def is_host_allowed(headers: Mapping[str, str], allowed: frozenset[str] | None) -> bool:
    """Does the Host header name this server? A page that rebinds a name to us does not pass."""
    if allowed is None:
        return True
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return False
    return name is not None and (name in allowed or f"[{name}]" in allowed)


def is_origin_allowed(headers: Mapping[str, str], allowed: frozenset[str] = frozenset()) -> bool:
    """Was the request made by a page of this host or an allowed origin, or by no page at all?"""
    origin = headers.get("origin")
    if origin is None:
        # What a page loads like a picture, or links to, is sent without its origin.
        return headers.get("sec-fetch-site", "none") in _OWN_SITES
    if is_same_origin(origin, headers.get("host")):
        return True
    if normalize_origin(origin) is None:
        return False
    return normalize_origin(origin) in map(normalize_origin, allowed)
