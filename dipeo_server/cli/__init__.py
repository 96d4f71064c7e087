"""The command line: `serve`, `run`, `validate`, `render`, `convert`, upkeep of stores, exports."""

from __future__ import annotations

from dipeo_server.cli.commands import main

__all__ = ["main"]
