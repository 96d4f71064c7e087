"""The command line: `serve`, `run`, `validate`, `render` and what prints for other tools."""

from __future__ import annotations

from dipeo_server.cli.commands import main

__all__ = ["main"]
