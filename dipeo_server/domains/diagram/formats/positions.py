"""Where a node stands on the canvas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.source import Path, Source
from dipeo_server.domains.diagram.problem import Severity

ORIGIN: Final = (0.0, 0.0)


def position_of(raw: object) -> tuple[float, float] | None:
    """The position of the form `{x, y}` or `[x, y]`; 0, 0 for none, None if it is neither."""
    match raw:
        case None:
            return ORIGIN
        case {**fields} if set(fields) <= {"x", "y"}:
            x, y = fields.get("x", 0), fields.get("y", 0)
        case [x, y]:
            pass
        case _:
            return None
    if isinstance(x, int | float) and isinstance(y, int | float):
        return (float(x), float(y))
    return None


def read_position(source: Source, raw: object, node: str, at: Path) -> tuple[float, float]:
    """The position of a node; 0, 0 and a warning where it is of no known form."""
    found = position_of(raw)
    if found is not None:
        return found
    source.report(
        "POSITION_IGNORED",
        f"{node}: the position is not of the form {{x: 100, y: 200}}; 0, 0 is taken.",
        at=at,
        node=node,
        severity=Severity.WARNING,
    )
    return ORIGIN


def written_position(position: tuple[float, float]) -> Mapping[str, Any]:
    """The position as documents write it."""
    return {name: written_number(value) for name, value in zip("xy", position, strict=True)}


def written_number(value: float) -> int | float:
    """The number, without a fraction where it has none."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
