"""How a command ends: exit codes, and the one way in which errors are told on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from dipeo_server.errors import DipeoError, Rejected, StoreLocked


class ExitCode(IntEnum):
    """What a script can rely on; 75 and 78 are those of sysexits.h."""

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    ABORTED = 3
    LEFT_WAITING = 4
    TRY_AGAIN_LATER = 75
    REFUSED_CONFIGURATION = 78
    INTERRUPTED = 130


class Unusable(DipeoError):
    """What the command was given cannot be used: a file, an option or its value."""

    code = "INVALID"


class FileUnreadable(Unusable):
    """A file to read is missing, or cannot be read."""

    code = "FILE_NOT_FOUND"


def tell(text: str) -> None:
    """Write lines for people to standard error."""
    tell_text(f"{text}\n")


def tell_text(text: str) -> None:
    """Write text for people to standard error, at once."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        return  # Nobody reads any more.


def tell_error(error: DipeoError) -> None:
    """Write an error and its way out to standard error."""
    tell(f"Error: {error.message}")
    if error.hint:
        tell(f"Hint:  {error.hint}")


@contextmanager
def told_errors() -> Iterator[None]:
    """Tell an error that a command raises, and end the process with the code that fits."""
    try:
        yield
    except DipeoError as error:
        tell_error(error)
        raise SystemExit(int(exit_code_of(error))) from error


def exit_code_of(error: DipeoError) -> ExitCode:
    """The exit code of a command that ends with this error."""
    match error:
        case StoreLocked():
            return ExitCode.TRY_AGAIN_LATER
        case Unusable() | Rejected():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
