"""What a command gives: to standard output, or into a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from dipeo_server.cli.outcome import Unusable


def write_output(content: bytes, output: Path | None) -> None:
    """Write it there, all or nothing; None = standard output, which may be closed early.

    Raises Unusable.
    """
    if output is None:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        return
    try:
        if output.exists() and not output.is_file():
            output.write_bytes(content)  # A device or a pipe takes what it gets.
        else:
            _replace(output.resolve(), content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unusable(f"Cannot write {output}: {reason}.") from error


def _replace(file: Path, content: bytes) -> None:
    """Put a file with that content there, with the permissions of one that was there before."""
    partial = file.with_name(f".{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        if file.exists():
            shutil.copymode(file, partial)
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
