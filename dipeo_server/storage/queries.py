"""SQL by name, from commented files."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load_queries(file: str = "queries.sql") -> dict[str, str]:
    """Every query of a file by its name, without its comments."""
    text = resources.files(__package__).joinpath(file).read_text("utf-8")
    parts = _NAME.split(text)[1:]
    return {
        name: "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def load_migrations() -> list[str]:
    """Migration scripts in order; the n-th brings a store to `user_version` n."""
    folder = resources.files(__package__).joinpath("migrations")
    scripts = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return [script.read_text("utf-8") for script in scripts]
