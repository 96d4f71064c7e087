"""The immutable message between nodes, and the only two ways to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.errors import InvalidInput


class ContentType(StrEnum):
    """What an envelope's body is."""

    RAW_TEXT = "raw_text"
    OBJECT = "object"
    CONVERSATION_STATE = "conversation_state"
    GENERIC = "generic"
    VARIABLE = "variable"
    BINARY = "binary"
    EMPTY = "empty"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Message of one NodeRun (source document 002): JSON body, metadata, origin; never changed.

    `body` is any JSON value; None where it is so large that it lies in `blob`, outside the log.
    Where the node fired several ports, `meta["by_port"]` is true and the body maps each port to
    its value. Where it is in a state `seq` is the event of the log that it came with, which
    belongs neither to its value nor to what is written.
    """

    id: str
    produced_by: str
    content_type: ContentType
    body: Any
    occurrence: int = 1
    meta: Mapping[str, Any] = field(default_factory=dict)
    timestamp: datetime | None = None
    blob: BlobRef | None = None
    _seq: Seq | None = field(default=None, compare=False, repr=False)

    @property
    def seq(self) -> Seq | None:
        """The event of the log that holds it; None before it is in one."""
        return self._seq

    def told_by(self, seq: Seq) -> Envelope:
        """The same envelope, as that event of the log holds it."""
        return replace(self, _seq=seq)

    @property
    def node_id(self) -> str:
        """The producing node's key (the source document's second name for `produced_by`)."""
        return self.produced_by

    def get_output(self, key: str, default: Any = None) -> Any:
        """The value under `key` of a map body; key `default` of any other body is the body."""
        if isinstance(self.body, Mapping):
            return self.body.get(key, self.body if key == "default" else default)
        return self.body if key == "default" else default

    def has_error(self) -> bool:
        """Does it carry an error instead of a result?"""
        return self.content_type is ContentType.ERROR

    def with_meta(self, **entries: Any) -> Envelope:
        """A copy with more metadata; this one stays as it is."""
        return replace(self, meta={**self.meta, **entries})

    def value_at(self, port: str) -> Any:
        """What an edge that leaves `port` carries."""
        if self.meta.get("by_port") and isinstance(self.body, Mapping):
            return self.body.get(port)
        return self.body

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `EnvelopeFactory.from_dict` gives an equal envelope back."""
        return {
            "id": self.id,
            "produced_by": self.produced_by,
            "content_type": self.content_type.value,
            "body": self.body,
            "occurrence": self.occurrence,
            "meta": dict(self.meta),
            "timestamp": self.timestamp.isoformat() if self.timestamp else None,
            "blob": {"hash": self.blob.hash, "size": self.blob.size} if self.blob else None,
        }


class EnvelopeFactory:
    """Makes envelopes, so that ids and content types are always consistent."""

    @staticmethod
    def create(
        produced_by: str,
        body: Any,
        *,
        occurrence: int = 1,
        content_type: ContentType | str | None = None,
        meta: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
    ) -> Envelope:
        """A new envelope; the content type is inferred from the body where none is given.

        Raises InvalidInput for a content type that does not exist.
        """
        return Envelope(
            id=f"{produced_by}#{occurrence}",
            produced_by=produced_by,
            content_type=_content_type(content_type, body),
            body=body,
            occurrence=occurrence,
            meta=dict(meta or {}),
            timestamp=timestamp,
        )

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> Envelope:
        """The envelope that `to_dict` wrote. Raises InvalidInput for an unknown content type."""
        stamp, blob = document.get("timestamp"), document.get("blob")
        return Envelope(
            id=document["id"],
            produced_by=document["produced_by"],
            content_type=_content_type(document["content_type"], document.get("body")),
            body=document.get("body"),
            occurrence=document.get("occurrence", 1),
            meta=dict(document.get("meta") or {}),
            timestamp=datetime.fromisoformat(stamp) if stamp else None,
            blob=BlobRef(blob["hash"], blob["size"]) if blob else None,
        )


def _content_type(wanted: ContentType | str | None, body: Any) -> ContentType:
    if isinstance(wanted, ContentType):
        return wanted
    if wanted is not None:
        try:
            return ContentType(wanted)
        except ValueError:
            known = ", ".join(ContentType)
            message = f"Unknown content type {wanted!r}."
            raise InvalidInput(message, hint=f"Known content types: {known}.") from None
    if body is None:
        return ContentType.EMPTY
    if isinstance(body, str):
        return ContentType.RAW_TEXT
    return ContentType.OBJECT if isinstance(body, dict | list) else ContentType.GENERIC
