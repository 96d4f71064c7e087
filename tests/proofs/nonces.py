"""Nonces: values that no second run of a node could give, found in bodies."""

from __future__ import annotations

from typing import Any


def nonces(body: Any) -> set[str]:
    """Every value of a key `nonce`, however deep it lies."""
    match body:
        case dict():
            found = {body["nonce"]} if isinstance(body.get("nonce"), str) else set()
            return found.union(*map(nonces, body.values()))
        case list():
            return set().union(*map(nonces, body))
        case _:
            return set()
