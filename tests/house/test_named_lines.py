"""Lines of the source documents are named by tests: in the name of one, or in its docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
KEEPING = [
    *(f"002-{number:02}" for number in range(9, 12)),
    *(f"004-{number}" for number in range(46, 52)),
    *(f"004-W{number}" for number in range(8, 13)),
]
"""States that keep themselves, custom outputs, performance; checkpoints and resuming."""

_LINE = re.compile(r"(\d{3})[-_](w?\d+)", re.IGNORECASE)
_MARKS = {"skip", "skipif", "xfail", "prove"}


def cases_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The tests in a file that `make test` runs whatever is installed."""
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = {
                each.attr
                for mark in found.decorator_list
                for each in ast.walk(mark)
                if isinstance(each, ast.Attribute)
            }
            if found.name.startswith("test_") and not marks & _MARKS:
                yield found


def named() -> set[str]:
    """The lines that are named, as `004-W8`."""
    return {
        f"{document}-{line.upper()}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for test in cases_of(path)
        for document, line in _LINE.findall(f"{test.name} {ast.get_docstring(test) or ''}")
    }


@pytest.fixture(scope="module")
def lines() -> set[str]:
    return named()


@pytest.mark.parametrize("line", KEEPING)
def test_a_line_is_named_by_a_test(line: str, lines: set[str]) -> None:
    assert line in lines


def test_what_nobody_names_is_noticed(lines: set[str]) -> None:
    assert "004-99" not in lines
