"""Diagram files as the command line takes them: text, format by suffix, path below the base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dipeo_server.cli.outcome import FileUnreadable, Unusable
from dipeo_server.domains.diagram.formats.detect import format_of_name


@dataclass(frozen=True, slots=True)
class DiagramFile:
    """A diagram as it lies on the disk.

    `format` None = let the server detect it; `path` is relative to the base directory, None for a
    file that does not lie below it.
    """

    name: str
    content: str
    format: str | None
    path: str | None


def read(file: Path, base_dir: Path) -> DiagramFile:
    """The file's text and what its name says. Raises FileUnreadable, Unusable."""
    try:
        content = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{file} is not text in UTF-8 (byte {error.start + 1})."
        raise NotText(message, hint="Save it as UTF-8.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileUnreadable(f"Cannot read {file}: {reason}.") from error
    return DiagramFile(file.name, content, format_of(file.name), _below(file, base_dir))


class NotText(Unusable):
    """A diagram file does not hold text."""

    code = "DIAGRAM_INVALID"


def format_of(name: str) -> str | None:
    """LIGHT, NATIVE or READABLE by the suffix; None where the suffix says nothing."""
    found = format_of_name(name)
    return None if found is None else found.upper()


def _below(file: Path, base_dir: Path) -> str | None:
    try:
        return file.resolve().relative_to(base_dir.resolve()).as_posix()
    except ValueError:
        return None
