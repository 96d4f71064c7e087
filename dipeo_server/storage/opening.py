"""Which store a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dipeo_server.domains.access.ports import AccessStore
from dipeo_server.domains.execution.blobs import Blobs
from dipeo_server.domains.execution.diagram_store import DiagramStore
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.errors import DipeoError, InvalidInput
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.sqlite import SQLiteStore

_HINT = "Use sqlite:PATH, a bare path (which means the same), or memory:."


class Store(StateStore, Protocol):
    """Executions and diagrams in one place: closing it closes both."""

    @property
    def problem(self) -> DipeoError | None:
        """What keeps events from being stored at present; None if nothing does."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Large values."""
        ...

    @property
    def access(self) -> AccessStore:
        """Tokens and the audit."""
        ...

    @property
    def diagrams(self) -> DiagramStore:
        """The stored diagrams."""
        ...


async def open_store(url: str) -> Store:
    """`sqlite:PATH`, a bare path (= sqlite) or `memory:`; made where there is none yet.

    Raises InvalidInput for any other URL, StoreLocked if another process has it open, StorageError.
    """
    place = _place(url)
    return MemoryStore() if place is None else await SQLiteStore.open(place)


def store_path(url: str) -> Path:
    """The file of the store that a URL names. Raises InvalidInput; `memory:` has none."""
    place = _place(url)
    if place is None:
        raise InvalidInput(f"{url!r} keeps no file.", hint="Name a store on disk with --store.")
    return place


def _place(url: str) -> Path | None:
    """The file; None for memory. Raises InvalidInput."""
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme:
        scheme, rest = "sqlite", url  # A bare path; a colon behind a slash is part of a name.
    match scheme:
        case "memory":
            if rest:
                message = f"memory: keeps no file, so {rest!r} in {url!r} means nothing."
                raise InvalidInput(message, hint=_HINT)
            return None
        case "sqlite":
            return _path(rest, url)
        case _:
            message = f"There is no kind of store {scheme!r} (in {url!r})."
            raise InvalidInput(message, hint=_HINT)


def _path(text: str, url: str) -> Path:
    if not text:
        raise InvalidInput(f"{url!r} names no file.", hint=_HINT)
    if text == ":memory:":
        raise InvalidInput(f"{url!r} names no file.", hint="Write memory: alone.")
    return Path(text)
