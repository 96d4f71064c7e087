"""Figures of simulations: counted by tests, printed as tables behind the summary."""

from collections.abc import Callable, Mapping

import pytest

Figures = Callable[[str, Mapping[str, object]], None]
"""Takes a title and rows; a test calls it once it has counted."""

_TABLES = pytest.StashKey[list[tuple[str, Mapping[str, object]]]]()


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where a test leaves its figures."""
    tables = request.config.stash.setdefault(_TABLES, [])
    return lambda title, rows: tables.append((title, dict(rows)))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print every table."""
    for title, rows in config.stash.get(_TABLES, []):
        terminalreporter.section(title)
        width = max(len(name) for name in rows)
        for name, value in rows.items():
            number = f"{value:,}" if isinstance(value, int) else str(value)
            terminalreporter.write_line(f"  {name:<{width}}  {number:>12}")
