"""Copying a store that is in use: one moment of it with its blobs, verified before it counts."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from dipeo_server.domains.execution.blobs import BlobRef
from dipeo_server.errors import InvalidInput, StorageError, StorageFull
from dipeo_server.storage.blobs import FULL, FileBlobs, blobs_folder, sync_folder
from dipeo_server.storage.database import make_file
from dipeo_server.storage.inspection import check_mark, looking_into
from dipeo_server.storage.verification import Tell, Verdict, verify_store
from dipeo_server.storage.writer import storage_error


class DamagedCopy(StorageError):
    """The copy is not sound, and so is not kept; `verdict` tells all damage."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message, hint="`dipeo-server verify` tells what the store itself lost.")
        self.verdict = verdict


def back_up(path: Path, target: Path, tell: Tell = lambda *_: None) -> Verdict:
    """Copy the store to a new file, and its blobs beside that; the copy is a store like any other.

    The store may be in use meanwhile: the copy is as of one moment after the call. `target` is
    there once all of it is, durable and verified; else nothing is left. Raises InvalidInput if
    there is something at `target` already, NoStore, StorageFull, DamagedCopy, StorageError.
    """
    target = _free(target)
    partial = target.with_name(f"{target.name}.partial-{secrets.token_hex(4)}")
    try:
        tell("copying", 0, 0)
        _copy_log(path, partial)
        # Behind the log: an event is written after the blobs that it refers to, so all that this
        # copy of the log refers to is there by now. Pruning deletes blobs, but not beside a server.
        _copy_blobs(path, partial, tell)
        verdict = verify_store(partial, tell)
        if not verdict.is_sound:
            message = f"The copy of {path} is not sound: {verdict.damage[0].message}"
            raise DamagedCopy(message, verdict)
        _name(partial, target)
        return verdict
    except sqlite3.Error as error:
        raise storage_error(error) from error
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull("The disk that the copy should go to is full.") from error
        raise StorageError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
        shutil.rmtree(blobs_folder(partial), ignore_errors=True)


def _free(target: Path) -> Path:
    """The path without links. Raises InvalidInput if anything is there, or nothing can be."""
    target = target.resolve()
    for there in (target, blobs_folder(target)):
        if there.exists():
            raise InvalidInput(f"{there} is there already.", hint="A backup overwrites nothing.")
    if not target.parent.is_dir():
        raise InvalidInput(f"There is no folder {target.parent}.")
    return target


def _copy_log(path: Path, partial: Path) -> None:
    with looking_into(path) as connection:
        check_mark(connection, path)
        make_file(partial)
        connection.execute("PRAGMA query_only = OFF")  # It forbids VACUUM, even into another file.
        connection.execute("VACUUM INTO ?", (str(partial),))
    with partial.open("rb") as file:
        os.fsync(file.fileno())


def _copy_blobs(path: Path, partial: Path, tell: Tell) -> None:
    source, copy = FileBlobs(blobs_folder(path)), FileBlobs(blobs_folder(partial))
    names = list(source.names())
    for done, name in enumerate(names, 1):
        # Verified on the way: what is damaged would only make the copy unsound later on.
        size = source.path_of(name).stat().st_size
        copy.write(source.read(BlobRef(name, size)))
        tell("blobs copied", done, len(names))


def _name(partial: Path, target: Path) -> None:
    """Give the copy its name; the blobs first, so that whoever finds the store finds all of it."""
    with suppress(FileNotFoundError):
        blobs_folder(partial).rename(blobs_folder(target))
    try:
        os.link(partial, target)  # Unlike renaming, this overwrites nothing that came meanwhile.
    except FileExistsError as error:
        blobs_folder(target).rename(blobs_folder(partial))
        raise InvalidInput(f"{target} is there already.") from error
    sync_folder(target.parent)
