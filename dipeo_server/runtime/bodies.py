"""Large bodies: kept beside the log as blobs, and loaded only for whoever looks at them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog

from dipeo_server.domains.execution.blobs import BlobRef, Blobs
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.state import InputRef
from dipeo_server.errors import StorageError

log = structlog.get_logger(__name__)

INLINE_BYTES_MAX: Final = 256 * 1024
"""A body with more bytes of JSON lies outside the log."""
CACHE_BYTES_MAX: Final = 64 * 1024 * 1024


class Bodies:
    """What the runner keeps of large bodies: their newest bytes, and nothing else in memory."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._newest: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    async def put_if_large(self, body: Any) -> BlobRef | None:
        """Keep a large body durably; None for one that may stay in the log.

        None as well where the disk does not take it: then the log will say so, and try again.
        """
        if body is None or isinstance(body, bool | int | float):
            return None
        data = orjson.dumps(body)
        if len(data) <= INLINE_BYTES_MAX:
            return None
        # What orjson gives holds on to many times its own length.
        data = bytes(memoryview(data))
        try:
            ref = await self._blobs.put(data)
        except StorageError as error:
            log.warning("blob_refused", code=error.code, error=str(error))
            return None
        self._remember(ref, data)
        return ref

    async def of_inputs(self, refs: Sequence[InputRef]) -> Sequence[InputRef]:
        """The inputs with every body in its place. Raises StorageError."""
        if all(ref.envelope.blob is None for ref in refs):
            return refs
        return [replace(ref, envelope=await self.loaded(ref.envelope)) for ref in refs]

    async def loaded(self, envelope: Envelope) -> Envelope:
        """The envelope with its body. Raises StorageError."""
        if envelope.blob is None:
            return envelope
        data = self._newest.get(envelope.blob.hash)
        if data is None:
            data = await self._blobs.get(envelope.blob)
            self._remember(envelope.blob, data)
        return _with_body(envelope, data)

    def loaded_now(self, envelope: Envelope) -> Envelope:
        """As `loaded`, in the caller's thread: for what is seldom looked at."""
        if envelope.blob is None:
            return envelope
        data = self._newest.get(envelope.blob.hash)
        return _with_body(envelope, self._blobs.read(envelope.blob) if data is None else data)

    def _remember(self, ref: BlobRef, data: bytes) -> None:
        if ref.hash not in self._newest:
            self._bytes += len(data)
        self._newest[ref.hash] = data
        self._newest.move_to_end(ref.hash)
        while self._bytes > CACHE_BYTES_MAX:
            _, dropped = self._newest.popitem(last=False)
            self._bytes -= len(dropped)


class LoadedOutputs(Mapping[str, Envelope]):
    """Outputs by node, as handlers see them: a large body is loaded when it is asked for."""

    def __init__(self, outputs: Mapping[str, Envelope], bodies: Bodies) -> None:
        self._outputs = outputs
        self._bodies = bodies

    def __getitem__(self, key: str) -> Envelope:
        return self._bodies.loaded_now(self._outputs[key])

    def __contains__(self, key: object) -> bool:
        return key in self._outputs

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)


def _with_body(envelope: Envelope, data: bytes) -> Envelope:
    return replace(envelope, body=orjson.loads(data), blob=None)
