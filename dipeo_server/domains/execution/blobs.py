"""Large values beside the log: named by what they contain, so kept once and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Names bytes: `hash` is their BLAKE2b-256 in 64 hexadecimal digits, `size` counts them.

    An event refers to a blob by holding its reference, as an object of just these two fields in
    this order: that is how verifying and pruning a store find which blobs are needed.
    """

    hash: str
    size: int


class Blobs(Protocol):
    """Keeps bytes for as long as an event refers to them."""

    async def put(self, data: bytes) -> BlobRef:
        """Keep the bytes; returns when they are durable, so that an event may refer to them.

        The same bytes give the same reference, however often. Raises StorageFull, StorageError.
        """
        ...

    async def get(self, ref: BlobRef) -> bytes:
        """The bytes. Raises BlobMissing, BlobDamaged, StorageError."""
        ...

    def read(self, ref: BlobRef) -> bytes:
        """What `get` does, in the caller's thread."""
        ...
