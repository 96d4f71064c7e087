"""What an edge's content type makes of a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dipeo_server.domains.execution.envelope import ContentType


def coerce(value: Any, content_type: str | None) -> Any:
    """The value as the edge's content type wants it; no content type leaves it as it is.

    `raw_text` makes text of maps and lists (a conversation gives its last message, a map with
    `default` that value, anything else indented JSON) and leaves scalars alone; `object` parses
    text as JSON, or wraps it as {text: …}; `conversation_state` makes a conversation of anything.
    """
    match content_type:
        case ContentType.RAW_TEXT:
            return _text(value)
        case ContentType.OBJECT:
            return _object(value)
        case ContentType.CONVERSATION_STATE:
            return _conversation(value)
        case ContentType.EMPTY:
            return None
        case _:
            return value


def _text(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "messages" in value and "last_message" in value:
            return value["last_message"]
        if "default" in value:
            return _text(value["default"])
    if isinstance(value, Mapping | list):
        return json.dumps(value, indent=2, ensure_ascii=False)
    return value


def _object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return {"text": value}


def _conversation(value: Any) -> Any:
    if isinstance(value, Mapping) and "messages" in value:
        return value
    text = _text(value)
    content = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return {
        "messages": [{"role": "assistant", "content": content}],
        "last_message": content,
        "context": {},
    }
