"""One process per store: an advisory lock on a file that holds the owner's process id."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dipeo_server.errors import StorageError, StoreLocked


class StoreLock:
    """Held as long as the process lives or until `release`; a killed owner leaves no lock.

    The file stays: removing it would let two processes lock two files of one name.
    """

    def __init__(self, store: Path) -> None:
        """Lock the store at that path. Raises StoreLocked, StorageError."""
        path = store.with_name(store.name + ".lock")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"{path} cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign()
        except BlockingIOError:
            owner = self._owner()
            os.close(self._file)
            raise StoreLocked(f"The store {store} is open in process {owner}.") from None
        except OSError as error:
            os.close(self._file)
            raise StorageError(f"{path} cannot be locked: {error.strerror}.") from error

    def release(self) -> None:
        """Let another process open the store."""
        os.close(self._file)

    def _sign(self) -> None:
        signature = f"{os.getpid()}\n".encode()
        os.pwrite(self._file, signature, 0)
        os.ftruncate(self._file, len(signature))

    def _owner(self) -> str:
        first_line = os.pread(self._file, 32, 0).partition(b"\n")[0]
        return first_line.decode(errors="replace") or "unknown"
