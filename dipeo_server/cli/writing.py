"""What a command gives: to standard output, or into a file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from dipeo_server.cli.outcome import Unusable


def write_output(content: bytes, output: Path | None) -> None:
    """Write it there; None = standard output, which may be closed early. Raises Unusable."""
    if output is None:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unusable(f"Cannot write {output}: {reason}.") from error
