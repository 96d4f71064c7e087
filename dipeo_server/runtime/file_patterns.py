"""Find files beneath a folder by pattern, never through a link."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import os
import re
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from dipeo_server.runtime.beneath import FOLDER, Opener, is_text, opened

FOUND_MAX: Final = 10_000
LOOKED_AT_MAX: Final = 200_000
_ANY_FOLDERS: Final = "**"

Parts: TypeAlias = tuple[str, ...]


class TooWide(Exception):
    """The search was given up: too much matches, or too much lies on the way."""


def find(opener: Opener, root: int, pattern: Sequence[str]) -> list[str]:
    """Regular files that match the pattern's parts, sorted. Raises TooWide beyond the limits."""
    found: set[str] = set()
    looked_at = itertools.count(1)
    start = _start(pattern)
    waiting = [start]
    seen = {start}
    while waiting:
        folder, rest = waiting.pop()
        with contextlib.closing(_entries(opener, root, folder)) as entries:
            for name, is_folder in entries:
                for path, left in _followed(folder, name, rest, is_folder=is_folder):
                    if not left:
                        found.add("/".join(path))
                    elif (path, left) not in seen:
                        seen.add((path, left))
                        waiting.append((path, left))
                _check_limits(len(found), next(looked_at))
    return sorted(found)


def _start(pattern: Sequence[str]) -> tuple[Parts, Parts]:
    """The folder to begin in, and the pattern from there on."""
    parts = [part for index, part in enumerate(pattern) if not _repeats(pattern, index)]
    if parts[-1] == _ANY_FOLDERS:
        parts.append("*")
    plain = 0
    while plain < len(parts) - 1 and not set(parts[plain]) & set("*?["):
        plain += 1
    return tuple(parts[:plain]), tuple(parts[plain:])


def _repeats(pattern: Sequence[str], index: int) -> bool:
    return index > 0 and pattern[index] == pattern[index - 1] == _ANY_FOLDERS


def _entries(opener: Opener, root: int, folder: Parts) -> Generator[tuple[str, bool]]:
    """Names of files and folders (True); links, devices and what vanished meanwhile left out."""
    try:
        descriptor = opener(root, folder, FOLDER)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    with opened(descriptor), os.scandir(descriptor) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_text(entry.name) and (is_folder or entry.is_file(follow_symlinks=False)):
                yield entry.name, is_folder


def _followed(
    folder: Parts, name: str, pattern: Parts, *, is_folder: bool
) -> Iterator[tuple[Parts, Parts]]:
    """Where an entry leads: its path, and what is left of the pattern below it."""
    path = (*folder, name)
    if pattern[0] == _ANY_FOLDERS:
        if is_folder and not name.startswith("."):
            yield path, pattern
        pattern = pattern[1:]
    if is_folder == (len(pattern) > 1) and _fits(name, pattern[0]):
        yield path, pattern[1:]


def _fits(name: str, part: str) -> bool:
    if name.startswith(".") and not part.startswith("."):
        return False
    return _compiled(part).match(name) is not None


@lru_cache(maxsize=256)
def _compiled(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part))


def _check_limits(found: int, looked_at: int) -> None:
    if found > FOUND_MAX:
        raise TooWide(f"more than {FOUND_MAX:,} files match.")
    if looked_at > LOOKED_AT_MAX:
        raise TooWide(f"more than {LOOKED_AT_MAX:,} names lie on the way.")
