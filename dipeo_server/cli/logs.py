"""Logs of a server go to standard error: for people on a terminal, else a JSON object a line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Final, Literal

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

LogFormat = Literal["json", "console"]

_TOKEN: Final = re.compile(r"\bdip_[A-Za-z0-9_]{12,}")
# Everything that could move a cursor, colour a terminal, or begin a line that nobody has logged.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_IN_TRACEBACKS: Final = re.compile(rf"(?![\n\t]){_CONTROL.pattern}")
_MANY_LINES: Final = frozenset({"exception", "stack"})


def log_to_stderr(
    level: int = logging.INFO,
    form: LogFormat | None = None,
    clean: Callable[[str], str] = str,
) -> None:
    """Configure every logger of this process.

    `form` None means what fits: `console` on a terminal, else `json`. `clean` takes secrets out of
    whatever is logged.
    """
    is_console = sys.stderr.isatty() if form is None else form == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _Cleaner(clean),
    ]
    if is_console:
        renderer: Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        last = [_without_control_characters, renderer]
    else:
        last = [structlog.processors.JSONRenderer(default=str)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _take_in_libraries(shared, last)


def _take_in_libraries(shared: list[Processor], last: list[Processor]) -> None:
    """What libraries log looks like what we log."""
    form = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("asyncio").addFilter(_is_news)


class _Cleaner:
    """Takes secrets and tokens out of the texts of an entry."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        self._clean = clean

    def __call__(self, _logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
        for name, value in entry.items():
            if not isinstance(value, bool | int | float | None):
                text = value if isinstance(value, str) else str(value)
                entry[name] = _TOKEN.sub("dip_…", self._clean(text))
        return entry


def _without_control_characters(
    _logger: WrappedLogger, _method: str, entry: EventDict
) -> EventDict:
    for name, value in entry.items():
        if isinstance(value, str):
            unwanted = _IN_TRACEBACKS if name in _MANY_LINES else _CONTROL
            entry[name] = unwanted.sub(_escaped, value)
    return entry


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _is_news(record: logging.LogRecord) -> bool:
    """Not a line for each frame that a client who has gone does not get any more."""
    return record.getMessage() != "socket.send() raised exception."
