"""Problems of diagrams as lines: file:line:column: severity code message (hint)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Problem = Mapping[str, Any]
"""As the API gives it: severity, code, message, hint, nodeKey, edgeKey, line, column."""


def line_of(problem: Problem, file: Path) -> str:
    """The problem as editors and compilers write it; without a place it is at 1:1."""
    place = f"{file}:{problem['line'] or 1}:{problem['column'] or 1}"
    hint = f" ({problem['hint']})" if problem["hint"] else ""
    return f"{place}: {problem['severity'].lower()} {problem['code']} {problem['message']}{hint}"


def is_error(problem: Problem) -> bool:
    """Does it keep the diagram from running?"""
    return bool(problem["severity"] == "ERROR")
