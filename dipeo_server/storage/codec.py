"""Events as bytes and back: JSON per kind, with versions and upcasters for older logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, get_args

import orjson
from pydantic import TypeAdapter

from dipeo_server.domains.execution.events import Event
from dipeo_server.errors import StorageError

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the JSON of one version of an event, gives that of the next."""


class UnknownEvent(StorageError):
    """The log holds an event that this version does not know; a newer one may have written it."""


VERSIONS: Final[Mapping[str, int]] = {}
"""Version per kind; what is not listed is at version 1."""

UPCASTERS: Final[Mapping[tuple[str, int], Upcast]] = {}
"""By (kind, version): how to make the next version of it."""

_KINDS: Final[dict[str, type]] = {
    cls.__dataclass_fields__["kind"].default: cls for cls in get_args(Event)
}


class EventCodec:
    """Writes the newest version of every event, reads all versions there ever were."""

    def __init__(
        self,
        versions: Mapping[str, int] = VERSIONS,
        upcasters: Mapping[tuple[str, int], Upcast] = UPCASTERS,
    ) -> None:
        self._versions = versions
        self._upcasters = upcasters
        self._adapters: dict[str, TypeAdapter[Any]] = {
            kind: TypeAdapter(cls) for kind, cls in _KINDS.items()
        }

    def version_of(self, kind: str) -> int:
        """The version that is written."""
        return self._versions.get(kind, 1)

    def encode(self, event: Event) -> bytes:
        """The event as UTF-8 JSON."""
        return self._adapters[event.kind].dump_json(event)

    def decode(self, kind: str, payload: bytes, version: int) -> Event:
        """The event that was written so. Raises UnknownEvent."""
        adapter = self._adapters.get(kind)
        newest = self.version_of(kind)
        if adapter is None or version > newest:
            message = f"The log holds an event {kind!r} of version {version}, unknown here."
            raise UnknownEvent(message, hint="Run the version of the server that wrote it.")
        if version < newest:
            document = orjson.loads(payload)
            for step in range(version, newest):
                document = self._upcasters[kind, step](document)
            payload = orjson.dumps(document)
        event: Event = adapter.validate_json(payload)
        return event


def stamp(at: datetime) -> str:
    """RFC 3339, UTC, six digits: fixed width, so that text order is time order."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unstamp(text: str) -> datetime:
    """The time that `stamp` wrote."""
    return datetime.fromisoformat(text)
