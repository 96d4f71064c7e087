"""Which media type an answer has, and which one a request must have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

GRAPHQL_JSON: Final = "application/graphql-response+json"
JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

_RANGES: Final = {
    GRAPHQL_JSON: GRAPHQL_JSON,
    JSON: JSON,
    EVENT_STREAM: EVENT_STREAM,
    "application/*": JSON,
    "*/*": JSON,
}


def answer_type(accept: str | None) -> str | None:
    """The media type that suits the Accept header best; None where none does.

    Equal quality: the first one named. Whoever does not say gets JSON.
    """
    if accept is None or not accept.strip():
        return JSON
    best, chosen = 0.0, None
    for media_range, quality in _media_ranges(accept):
        offered = _RANGES.get(media_range)
        if offered is not None and quality > best:
            best, chosen = quality, offered
    return chosen


def takes_event_stream(accept: str | None) -> bool:
    """Does the Accept header name event streams, however low it values them?"""
    ranges = _media_ranges(accept or "")
    return any(media_range == EVENT_STREAM and quality > 0 for media_range, quality in ranges)


def is_json(headers: Mapping[str, str]) -> bool:
    """Is the body JSON in UTF-8, as it is?"""
    media_type, *parameters = headers.get("content-type", "").lower().split(";")
    charsets = [text.partition("=")[2].strip(' "') for text in parameters if "charset" in text]
    encoding = headers.get("content-encoding", "identity").lower()
    return media_type.strip() == JSON and set(charsets) <= {"utf-8"} and encoding == "identity"


def _media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        if any(text.startswith("charset=") and "utf-8" not in text for text in parameters):
            continue
        weights = [text.partition("=")[2] for text in parameters if text.startswith("q=")]
        yield media_range, _quality(weights[0]) if weights else 1.0


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
