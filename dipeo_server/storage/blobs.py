"""Blobs in files beside the store, and in memory."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.errors import BlobDamaged, BlobMissing, StorageError, StorageFull

HASH_BYTES: Final = 32
SHARD_DIGITS: Final = 2

_NAME: Final = re.compile(rf"[0-9a-f]{{{2 * HASH_BYTES}}}")
_PARTIAL: Final = "partial-"
FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def blob_ref(data: bytes) -> BlobRef:
    """The reference that names these bytes."""
    return BlobRef(blake2b(data, digest_size=HASH_BYTES).hexdigest(), len(data))


def blobs_folder(store: Path) -> Path:
    """Where the blobs of the store at that path lie."""
    return store.with_name(f"{store.name}.blobs")


class MemoryBlobs:
    """Bytes by their names; nothing outlives the process."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    async def put(self, data: bytes) -> BlobRef:
        """Keep the bytes."""
        ref = blob_ref(data)
        self._kept.setdefault(ref.hash, bytes(data))
        return ref

    async def get(self, ref: BlobRef) -> bytes:
        """The bytes. Raises BlobMissing."""
        return self.read(ref)

    def read(self, ref: BlobRef) -> bytes:
        """What `get` does."""
        try:
            return self._kept[ref.hash]
        except KeyError:
            raise missing(ref) from None


class FileBlobs:
    """A file for each blob, in folders by the first digits of their names.

    A file has its name only once its bytes are on disk, so whatever has a name is whole. Anybody
    else's files in these folders are left alone.
    """

    def __init__(self, folder: Path) -> None:
        """The folder is made with the first blob, its parent must be there."""
        self.folder = folder
        self._known_folders: set[Path] = set()
        self._lock = threading.Lock()

    async def put(self, data: bytes) -> BlobRef:
        """Keep the bytes durably. Raises StorageFull, StorageError."""
        return await asyncio.to_thread(self.write, data)

    async def get(self, ref: BlobRef) -> bytes:
        """The bytes, compared with their name. Raises BlobMissing, BlobDamaged, StorageError."""
        return await asyncio.to_thread(self.read, ref)

    def write(self, data: bytes) -> BlobRef:
        """What `put` does, in the caller's thread."""
        ref = blob_ref(data)
        path = self.path_of(ref.hash)
        try:
            self._make_folders(path.parent)
            if not self._is_there(path, ref.size):
                _write_new(path, data)
            sync_folder(path.parent)
        except OSError as error:
            raise _storage_error(path, error) from error
        return ref

    def read(self, ref: BlobRef) -> bytes:
        """What `get` does, in the caller's thread."""
        path = self.path_of(ref.hash)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise missing(ref) from None
        except OSError as error:
            raise _storage_error(path, error) from error
        if blob_ref(data) != ref:
            raise BlobDamaged(f"The blob {ref.hash} is not what was written ({path}).")
        return data

    def path_of(self, name: str) -> Path:
        """Where the blob of that hash lies. Raises BlobMissing for what is no hash."""
        if not _NAME.fullmatch(name):
            raise BlobMissing(f"{name!r} names no blob.")
        return self.folder / name[:SHARD_DIGITS] / name[SHARD_DIGITS:]

    def names(self) -> Iterator[str]:
        """The hash of every blob there is, in order."""
        for shard in self._shards():
            for path in sorted(shard.iterdir()):
                if _NAME.fullmatch(shard.name + path.name):
                    yield shard.name + path.name

    def partials(self) -> Iterator[Path]:
        """Files that were being written when a process died, or are being written now."""
        for shard in self._shards():
            yield from sorted(shard.glob(f"{_PARTIAL}*"))

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9a-f]" * SHARD_DIGITS))

    def _make_folders(self, shard: Path) -> None:
        """Make what is missing, each durable in the folder above it."""
        with self._lock:
            if shard in self._known_folders:
                return
            for folder in (self.folder, shard):
                with suppress(FileExistsError):
                    folder.mkdir(mode=0o700)
                sync_folder(folder.parent)
            self._known_folders.add(shard)

    def _is_there(self, path: Path, size: int) -> bool:
        """Is the blob kept already? Then it is made young, or pruning might take it for unused."""
        try:
            if path.stat().st_size != size:
                return False  # Damaged: written anew.
            os.utime(path)
        except FileNotFoundError:
            return False
        return True


def _write_new(path: Path, data: bytes) -> None:
    partial = path.with_name(_PARTIAL + secrets.token_hex(8))
    try:
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def missing(ref: BlobRef) -> BlobMissing:
    """The refusal of a blob that is not there."""
    return BlobMissing(f"The blob {ref.hash} ({ref.size} bytes) is not there.")


def _storage_error(path: Path, error: OSError) -> StorageError:
    if error.errno in FULL:
        return StorageFull("The disk that holds the store is full.")
    return StorageError(f"The blob {path} cannot be read or written: {error.strerror}.")
