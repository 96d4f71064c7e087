"""Events as bytes and back: JSON per kind, with versions and upcasters for older logs.

Writing is orjson alone, which knows dataclasses; reading is pydantic, which makes them again. What
those two cannot hold (whole numbers beyond 64 bits, values nested hundreds deep) goes through the
standard library, so that whatever was once written can be read for ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, get_args

import orjson
from pydantic import TypeAdapter, ValidationError

from dipeo_server.domains.execution.events import DiagramMutated, Event, ExecutionStarted
from dipeo_server.errors import StorageError

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the JSON of one version of an event, gives that of the next."""


class UnreadableEvent(StorageError):
    """The log holds an event that cannot be read: damaged, or written by a newer version."""

    is_lasting = True


SCHEMA_VERSIONS: Final[Mapping[str, int]] = {}
"""Version per kind; what is not listed is at version 1."""

UPCASTERS: Final[Mapping[tuple[str, int], Upcast]] = {}
"""By (kind, version): how to make the next version of it."""

KINDS: Final[Mapping[str, type]] = {
    cls.__dataclass_fields__["kind"].default: cls for cls in get_args(Event)
}
"""Every kind of event, and its class."""


class EventCodec:
    """Writes the newest version of every event, reads all versions there ever were."""

    def __init__(
        self,
        versions: Mapping[str, int] = SCHEMA_VERSIONS,
        upcasters: Mapping[tuple[str, int], Upcast] = UPCASTERS,
    ) -> None:
        for kind, newest in versions.items():
            missing = [step for step in range(1, newest) if (kind, step) not in upcasters]
            assert not missing, f"{kind} has no upcaster from version {missing}"
        self._versions = versions
        self._upcasters = upcasters
        # Kinds are known beforehand, so no adapter has to look for the right one among twenty.
        self._adapters: dict[str, TypeAdapter[Any]] = {
            kind: TypeAdapter(cls) for kind, cls in KINDS.items()
        }

    def version_of(self, kind: str) -> int:
        """The version that is written."""
        return self._versions.get(kind, 1)

    def encode(self, event: Event) -> bytes:
        """The event as UTF-8 JSON. Raises StorageError for what no JSON can hold."""
        if isinstance(event, ExecutionStarted | DiagramMutated):
            # A fresh copy: orjson would write the diagram's cached properties as well.
            event = replace(event, diagram=replace(event.diagram))
        return json_bytes(event)

    def decode(self, kind: str, payload: bytes, version: int) -> Event:
        """The event that was written so. Raises UnreadableEvent."""
        adapter = self._adapters.get(kind)
        newest = self.version_of(kind)
        if adapter is None or version > newest:
            message = f"The log holds an event {kind!r} of version {version}, unknown here."
            raise UnreadableEvent(message, hint="Run the version of the server that wrote it.")
        if version == newest:
            try:
                event: Event = adapter.validate_json(payload)
                return event
            except ValidationError:
                pass  # Perhaps it is only nested too deep for this parser.
        return self._decode_by_hand(adapter, kind, payload, version)

    def _decode_by_hand(
        self, adapter: TypeAdapter[Any], kind: str, payload: bytes, version: int
    ) -> Event:
        try:
            document = json.loads(payload)
            for step in range(version, self.version_of(kind)):
                document = self._upcasters[kind, step](document)
            event: Event = adapter.validate_python(document)
            return event
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            message = f"An event {kind!r} of version {version} cannot be read: {error}"
            raise UnreadableEvent(message) from error


def json_bytes(value: Any) -> bytes:
    """A value of JSON values and dataclasses as UTF-8 JSON. Raises StorageError for others."""
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError:
        pass  # Perhaps it is only too large or too deep for orjson.
    try:
        return json.dumps(value, default=_plain, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        what = getattr(value, "kind", type(value).__name__)
        raise StorageError(f"{what!r} is not plain JSON: {error}.") from error


def _plain(value: Any) -> Any:
    """What the encoders do not know themselves."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        names = (field.name for field in fields(value) if not field.name.startswith("_"))
        return {name: getattr(value, name) for name in names}  # As orjson does.
    message = f"{type(value).__name__} is not JSON"
    raise TypeError(message)


def stamp(at: datetime) -> str:
    """RFC 3339, UTC, six digits: fixed width, so that text order is time order."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def unstamp(text: str) -> datetime:
    """The time that `stamp` wrote."""
    return datetime.fromisoformat(text)
