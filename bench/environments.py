"""The peers' own virtual environments under `.bench/`, made on demand from pinned requirements."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
HOME: Final = ROOT / ".bench"
INSTALL_SECONDS_MAX: Final = 600


class Unavailable(Exception):
    """A peer's environment cannot be made; the message says why."""


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, installed if it is not yet. Raises Unavailable."""
    requirements = Path(__file__).parent / f"requirements-{peer}.txt"
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = HOME / peer
    stamp = folder / "installed"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not stamp.is_file() or stamp.read_text() != pins:
        _install(folder, python, requirements)
        stamp.write_text(pins)
    return python


def _install(folder: Path, python: Path, requirements: Path) -> None:
    print(f"Installing {folder.name} …", file=sys.stderr)
    try:
        venv.create(folder, clear=True, with_pip=True)
        _pip(python, requirements)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().splitlines() or [str(error)]
        raise Unavailable(reason[-1]) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error


def _pip(python: Path, requirements: Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:")
    subprocess.run(
        [python, "-m", "pip", "install", *options, "-r", requirements],
        check=True,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
    )
