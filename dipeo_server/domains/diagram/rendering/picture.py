"""A picture of a diagram: boxes, arrows and a legend, whatever will draw it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RenderFormat(StrEnum):
    """What a picture is drawn as."""

    DOT = "dot"
    MERMAID = "mermaid"
    SVG = "svg"
    PNG = "png"


class Shape(StrEnum):
    """What kind of step a box stands for."""

    START = "start"
    END = "end"
    CHOICE = "choice"
    PEOPLE = "people"
    MODEL = "model"
    CODE = "code"
    DATA = "data"
    CHILD = "child"
    OTHER = "other"
    MISSING = "missing"


class Line(StrEnum):
    """When an arrow is followed, as far as it is drawn."""

    PLAIN = "plain"
    CHOSEN = "chosen"
    FALLBACK = "fallback"
    BACK = "back"


@dataclass(frozen=True, slots=True)
class Style:
    """How boxes in one status look; colours as `#rrggbb`.

    `name` consists of lower-case letters and `_`; `sign` says without colour what it is.
    """

    name: str
    sign: str
    fill: str
    border: str
    is_bold: bool = False
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """One node. `facts` are shown below its label, `details` where somebody points at it."""

    label: str
    shape: Shape
    facts: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    style: Style | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """One edge, between the boxes with these indexes."""

    source: int
    target: int
    label: str = ""
    line: Line = Line.PLAIN
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn; `legend` says how many boxes have each style."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    title: tuple[str, ...] = ()
    legend: tuple[tuple[Style, str], ...] = ()
