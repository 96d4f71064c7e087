"""The file port: text files below the base directory, and nothing outside of it."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dipeo_server.errors import FileMissing, NodeError, OutputTooLarge, PathDenied
from dipeo_server.runtime.beneath import FOLDER, Opener, best_opener, is_text, open_folder, opened
from dipeo_server.runtime.file_patterns import TooWide, find

_MEBIBYTE: Final = 1024 * 1024
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LEAVES: Final = (errno.ELOOP, errno.EXDEV)
_REFUSED: Final = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.ENAMETOOLONG,
)
_NAMES_COMPARED_MAX: Final = 1_000


class BaseDirFiles:
    """Files below `base_dir`; no text larger than `max_bytes` (UTF-8) is read or written.

    Implements the port Files. Symbolic links are never followed, and only regular files are opened.
    A write is seen whole or not at all; of concurrent ones the last wins.
    """

    def __init__(
        self, base_dir: Path, *, max_bytes: int = 64 * _MEBIBYTE, opener: Opener | None = None
    ) -> None:
        self._base = base_dir.absolute()
        self._max_bytes = max_bytes
        self._open = opener or best_opener()

    async def read_text(self, path: str) -> str:
        """UTF-8 text of one file, without a byte order mark."""
        return await asyncio.to_thread(self._read, path)

    async def write_text(self, path: str, text: str, *, append: bool = False) -> str:
        """Write atomically (or append); makes folders. Gives the path relative to the base."""
        return await asyncio.to_thread(self._append if append else self._write, path, text)

    async def exists(self, path: str) -> bool:
        """Is there a regular file?"""
        return await asyncio.to_thread(self._exists, path)

    async def glob(self, pattern: str) -> list[str]:
        """Files that match, sorted, relative to the base directory.

        `**` is any number of folders; names with a leading dot match only where the pattern has the
        dot. Raises OutputTooLarge beyond 10,000 files or 200,000 names looked at.
        """
        return await asyncio.to_thread(self._glob, pattern)

    def _read(self, path: str) -> str:
        parts = self._parts(path)
        with self._explained(path), self._root() as root:
            try:
                descriptor = self._open(root, parts, _READ)
            except (FileNotFoundError, NotADirectoryError):
                hint = self._nearest(root, parts)
                raise FileMissing(f"There is no file {path!r}.", hint=hint) from None
            with opened(descriptor) as file:
                _check_regular(path, os.fstat(file))
                with open(file, "rb", closefd=False) as stream:
                    content = stream.read(self._max_bytes + 1)
        self._check_size(path, len(content))
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            message = f"{path!r} is not UTF-8 text: byte {error.start} cannot be read."
            raise NodeError(message, hint="Convert the file to UTF-8.") from None

    def _write(self, path: str, text: str) -> str:
        parts = self._parts(path)
        content = self._encoded(path, text)
        with (
            self._explained(path),
            self._root() as root,
            opened(open_folder(self._open, root, parts[:-1], make=True)) as folder,
        ):
            replaced = _status(parts[-1], folder)
            if replaced is not None:
                _check_regular(path, replaced)
            _replace(folder, parts[-1], content, replaced)
        return "/".join(parts)

    def _append(self, path: str, text: str) -> str:
        parts = self._parts(path)
        content = self._encoded(path, text)
        with self._explained(path), self._root() as root:
            os.close(open_folder(self._open, root, parts[:-1], make=True))
            with opened(self._open(root, parts, _APPEND, 0o666)) as file:
                status = os.fstat(file)
                _check_regular(path, status)
                self._check_size(path, status.st_size + len(content))
                _write_all(file, content)
        return "/".join(parts)

    def _exists(self, path: str) -> bool:
        parts = self._parts(path)
        with self._explained(path), self._root() as root:
            try:
                descriptor = open_folder(self._open, root, parts[:-1])
            except (FileNotFoundError, NotADirectoryError):
                return False
            with opened(descriptor) as folder:
                status = _status(parts[-1], folder)
        if status is not None and stat.S_ISLNK(status.st_mode):
            _check_regular(path, status)
        return status is not None and stat.S_ISREG(status.st_mode)

    def _glob(self, pattern: str) -> list[str]:
        parts = self._parts(pattern)
        with self._explained(pattern), self._root() as root:
            try:
                return find(self._open, root, parts)
            except TooWide as error:
                message = f"{pattern!r} is too wide: {error}"
                raise OutputTooLarge(message, hint="Name more of the path.") from None

    def _parts(self, path: str) -> tuple[str, ...]:
        """Names from the base directory down; without links `..` is plain arithmetic."""
        if not path or "\0" in path or not is_text(path):
            raise PathDenied(f"{path!r} is no path.", hint="Give the name of a file.")
        if path.endswith("/"):
            message = f"{path!r} names a folder, not a file."
            raise PathDenied(message, hint="Leave out the slash at the end, or add a name.")
        names: list[str] = []
        for part in self._below_base(path).split("/"):
            if part == ".." and not names:
                raise PathDenied(f"{path!r} leaves the base directory.")
            if part == "..":
                names.pop()
            elif part not in ("", "."):
                names.append(part)
        if not names:
            raise PathDenied(f"{path!r} is the base directory itself, not a file.")
        return tuple(names)

    def _below_base(self, path: str) -> str:
        """An absolute path as one relative to the base directory."""
        if not path.startswith("/"):
            return path
        for base in (self._base, Path(os.path.realpath(self._base))):
            with contextlib.suppress(ValueError):
                return Path(path).relative_to(base).as_posix()
        raise PathDenied(f"{path!r} lies outside the base directory.")

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        try:
            # The operator chose it, so it may be reached through links.
            root = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NodeError(f"The base directory cannot be opened: {error.strerror}.") from error
        with opened(root):
            yield root

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Say in our words what the system refused."""
        try:
            yield
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            if error.errno in _LEAVES:
                raise PathDenied(f"{path!r} goes through a symbolic link.") from None
            if error.errno in _REFUSED:
                hint = "Look at the names on the way to it, and at their permissions."
                raise PathDenied(f"{path!r} cannot be opened: {reason}.", hint=hint) from None
            raise NodeError(f"{path!r} cannot be read or written: {reason}.") from error

    def _nearest(self, root: int, parts: Sequence[str]) -> str | None:
        """A hint that names what lies closest to a path that is not there."""
        for index, part in enumerate(parts):
            try:
                descriptor = self._open(root, parts[:index], FOLDER)
            except OSError:
                return None
            with opened(descriptor) as folder:
                names = [name for name in os.listdir(folder) if is_text(name)]  # noqa: PTH208 - pathlib knows no descriptors
            if part not in names:
                return _suggestion(parts[:index], part, names[:_NAMES_COMPARED_MAX])
        return None

    def _check_size(self, path: str, size: int) -> None:
        if size > self._max_bytes:
            message = f"{path!r} is larger than {self._max_bytes:,} bytes, the limit of a file."
            raise OutputTooLarge(message)

    def _encoded(self, path: str, text: str) -> bytes:
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            message = f"The text for {path!r} cannot be written: position {error.start}."
            raise NodeError(message, hint="Half a surrogate pair is no character.") from None
        self._check_size(path, len(content))
        return content


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _check_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise PathDenied(f"{path!r} is a symbolic link.")
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise PathDenied(f"{path!r} is {kind}, not a file.", hint="Give the name of a file.")


def _replace(folder: int, name: str, content: bytes, replaced: os.stat_result | None) -> None:
    """Put the content in place in one step, durably, with the permissions of what it replaces."""
    temporary = f".{secrets.token_hex(8)}.tmp"
    try:
        with opened(os.open(temporary, _NEW, 0o666, dir_fd=folder)) as file:
            if replaced is not None:
                os.fchmod(file, stat.S_IMODE(replaced.st_mode))
            _write_all(file, content)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.fsync(file)


def _suggestion(folder: Sequence[str], wanted: str, names: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1)
    return f"Did you mean {'/'.join([*folder, by_lower[close[0]]])!r}?" if close else None
