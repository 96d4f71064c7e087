"""Open files beneath a folder: no path, link or race leads out of it.

Paths are given as their parts, without `.` and `..`. The kernel resolves them in one step where it
can (Linux 5.6 and newer); elsewhere every folder on the way is opened by itself. Both refuse
symbolic links: OSError with ELOOP or EXDEV means that a path would have left the folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

_SYS_OPENAT2: Final = 437
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_RACES_MAX: Final = 100

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags for a folder that only serves to reach what is in it."""


class Opener(Protocol):
    """Opens `parts` beneath the folder `root` (a descriptor); the caller closes what it gets."""

    def __call__(self, root: int, parts: Sequence[str], flags: int, mode: int = 0) -> int:
        """The descriptor; raises OSError."""
        ...


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def open_by_kernel(root: int, parts: Sequence[str], flags: int, mode: int = 0) -> int:
    """An Opener: openat2, which resolves the whole path itself."""
    path = os.fsencode("/".join(parts) or ".")
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS
    # With O_NOFOLLOW a link to a folder would be called no folder rather than a link.
    flags = flags & ~os.O_NOFOLLOW | os.O_CLOEXEC
    how = _OpenHow(flags, mode if flags & os.O_CREAT else 0, resolve)
    for _ in range(_RACES_MAX):
        descriptor = _libc.syscall(_SYS_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return int(descriptor)
        problem = ctypes.get_errno()
        # The kernel asks for another try when something was renamed while it looked.
        if problem not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(problem, os.strerror(problem), "/".join(parts))


def open_by_walking(root: int, parts: Sequence[str], flags: int, mode: int = 0) -> int:
    """An Opener: one folder after the other, none of them through a link."""
    if not parts:
        return os.open(".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=root)
    with contextlib.ExitStack() as opened:
        folder = root
        for part in parts[:-1]:
            folder = _step(part, FOLDER, 0, folder)
            opened.callback(os.close, folder)
        return _step(parts[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, folder)


def _step(name: str, flags: int, mode: int, folder: int) -> int:
    try:
        return os.open(name, flags, mode, dir_fd=folder)
    except NotADirectoryError:
        if is_link(name, folder):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


def is_link(name: str, folder: int) -> bool:
    """Is there a symbolic link of that name in the folder?"""
    with contextlib.suppress(OSError):
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def best_opener() -> Opener:
    """The kernel's way where it exists and is allowed, else the walk."""
    with contextlib.suppress(OSError), opened(os.open("/", FOLDER)) as root:
        os.close(open_by_kernel(root, (), FOLDER))
        return open_by_kernel
    return open_by_walking


@contextlib.contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """`with opened(...) as descriptor:` closes it at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(opener: Opener, root: int, parts: Sequence[str], *, make: bool = False) -> int:
    """The folder `parts` beneath `root`, made where it is missing if `make` is set."""
    try:
        return opener(root, parts, FOLDER)
    except FileNotFoundError:
        if not make:
            raise
    for length in range(1, len(parts) + 1):
        with (
            opened(opener(root, parts[: length - 1], FOLDER)) as parent,
            contextlib.suppress(FileExistsError),
        ):
            os.mkdir(parts[length - 1], dir_fd=parent)
    return opener(root, parts, FOLDER)


def is_text(name: str) -> bool:
    """Can the name be written as UTF-8? (File names may hold any bytes.)"""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
