"""One process per store: an advisory lock on a file that holds the owner's process id."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dipeo_server.errors import StoreLocked


class StoreLock:
    """Held as long as the process lives or until `release`; a killed owner leaves no lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            message = f"The store {path.with_suffix('')} is open in process {owner}."
            raise StoreLocked(message) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process open the store."""
        os.close(self._file)
