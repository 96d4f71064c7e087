"""What an edge's content type makes of a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dipeo_server.domains.execution.envelope import ContentType


def coerce(value: Any, content_type: str | None) -> Any:
    """The value as the edge's content type wants it; no content type leaves it as it is.

    `raw_text` unwraps: a conversation gives its last message, a map of only `default` that value;
    other maps and lists stay what they are, and become JSON text where text is made of them (in
    templates and files). `object` parses text as JSON, or wraps it as {text: …};
    `conversation_state` makes a conversation of anything.
    """
    match content_type:
        case ContentType.RAW_TEXT:
            return _unwrapped(value)
        case ContentType.OBJECT:
            return _object(value)
        case ContentType.CONVERSATION_STATE:
            return _conversation(value)
        case ContentType.EMPTY:
            return None
        case _:
            return value


def _unwrapped(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "messages" in value and "last_message" in value:
            return value["last_message"]
        if set(value) == {"default"}:
            return _unwrapped(value["default"])
    return value


def _object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_refused)
    except (ValueError, RecursionError):
        return {"text": value}


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _conversation(value: Any) -> Any:
    if isinstance(value, Mapping) and "messages" in value:
        return value
    text = _unwrapped(value)
    content = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return {
        "messages": [{"role": "assistant", "content": content}],
        "last_message": content,
        "context": {},
    }
