"""The messages of graphql-transport-ws that a client sends: what form they must have."""

from __future__ import annotations

from collections.abc import Mapping


def fault_of(message: object) -> str | None:
    """What is wrong with the form of a client's message, or None."""
    if not isinstance(message, dict):
        return "A message must be an object"
    payload = message.get("payload")
    match message.get("type"):
        case "connection_init" | "ping" | "pong":
            return None if isinstance(payload, dict | None) else "`payload` must be an object"
        case "subscribe":
            return _id_fault(message) or _request_fault(payload)
        case "complete":
            return _id_fault(message)
        case str() as name:
            return f"Unknown message type: {name}"
        case _:
            return "A message must have a `type`"


def _id_fault(message: Mapping[str, object]) -> str | None:
    id_ = message.get("id")
    return None if isinstance(id_, str) and id_ else "`id` must be a string that is not empty"


def _request_fault(payload: object) -> str | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        return "`payload` must be an object with a `query`"
    if not isinstance(payload.get("operationName"), str | None):
        return "`operationName` must be a string"
    for name in ("variables", "extensions"):
        if not isinstance(payload.get(name), dict | None):
            return f"`{name}` must be an object"
    return None
