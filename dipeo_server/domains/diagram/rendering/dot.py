"""A picture as DOT, the language of Graphviz; the same picture always gives the same text.

Nodes are named `n0`, `n1` … in the order of the diagram, every value is quoted, and no text of an
author is ever anything but a label or a tooltip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dipeo_server.domains.diagram.rendering.lettering import cut, joined, wrapped
from dipeo_server.domains.diagram.rendering.picture import (
    Arrow,
    Box,
    Line,
    Picture,
    Shape,
    Style,
)

Attributes = Mapping[str, str]

LABEL_WIDTH: Final = 26
CHOICE_WIDTH: Final = 18
LABEL_LINES_MAX: Final = 4
FACT_CHARACTERS_MAX: Final = 48
EDGE_WIDTH: Final = 24
EDGE_LINES_MAX: Final = 3
TITLE_CHARACTERS_MAX: Final = 100
DETAIL_CHARACTERS_MAX: Final = 300

FONT: Final = "Helvetica,Arial,sans-serif"
INK: Final = "#1a1a1a"
LINE: Final = "#4d4d4d"
BACK: Final = "#7b3294"

_DEFAULTS: Final[tuple[tuple[str, Attributes], ...]] = (
    ("graph", {"charset": "UTF-8", "rankdir": "TB", "nodesep": "0.4", "ranksep": "0.5"}),
    ("graph", {"fontname": FONT, "fontsize": "14", "fontcolor": INK, "labelloc": "t"}),
    ("node", {"fontname": FONT, "fontsize": "11", "fontcolor": INK, "color": LINE}),
    ("node", {"shape": "box", "style": "filled", "fillcolor": "#ffffff", "margin": "0.16,0.09"}),
    ("edge", {"fontname": FONT, "fontsize": "10", "fontcolor": INK, "color": LINE}),
)
_SHAPES: Final[Mapping[Shape, Attributes]] = {
    Shape.START: {"shape": "ellipse"},
    Shape.END: {"shape": "ellipse", "peripheries": "2"},
    Shape.CHOICE: {"shape": "diamond", "margin": "0.02,0.02"},
    Shape.PEOPLE: {"shape": "octagon"},
    Shape.MODEL: {"shape": "box", "style": "filled,rounded"},
    Shape.CODE: {"shape": "box"},
    Shape.DATA: {"shape": "note"},
    Shape.CHILD: {"shape": "box3d"},
    Shape.OTHER: {"shape": "component"},
    Shape.MISSING: {"shape": "box", "style": "filled,dashed", "fontcolor": "#a11d21"},
}
# A back edge does not say which node is drawn above which.
_LINES: Final[Mapping[Line, Attributes]] = {
    Line.PLAIN: {},
    Line.CHOSEN: {"arrowhead": "onormal"},
    Line.FALLBACK: {"style": "dashed"},
    Line.BACK: {"color": BACK, "fontcolor": BACK, "penwidth": "1.6", "constraint": "false"},
}
# Graphviz reads `&lt;` in a label as `<`, in some versions twice: a character of no width between
# `&` and the name keeps what was written.
_LOOKS_LIKE_ENTITY: Final = re.compile(r"&(?=#?\w+;)")
_NOTHING_WIDE: Final = "\N{ZERO WIDTH NON-JOINER}"
# In tooltips some versions read escapes twice, so that none can be written for all of them.
_SAFE_BACKSLASH: Final = "\N{REVERSE SOLIDUS OPERATOR}"


def to_dot(picture: Picture) -> str:
    """The text of a digraph, with a line feed at its end."""
    body = [*_opening(picture), *_boxes(picture), *_arrows(picture), *_legend(picture)]
    return "\n".join(["digraph diagram {", *(f"  {line}" for line in body), "}", ""])


def _opening(picture: Picture) -> Iterator[str]:
    for what, attributes in _DEFAULTS:
        yield _statement(what, attributes)
    if picture.title:
        yield _statement("graph", {"label": _cut_lines(picture.title, TITLE_CHARACTERS_MAX)})


def _boxes(picture: Picture) -> Iterator[str]:
    for index, box in enumerate(picture.boxes):
        width = CHOICE_WIDTH if box.shape is Shape.CHOICE else LABEL_WIDTH
        label = "\n".join(wrapped(box.label, width, LABEL_LINES_MAX))
        shown = [label, _cut_lines(box.facts, FACT_CHARACTERS_MAX)]
        text = {"label": joined(shown, "\n"), **_told("tooltip", box.details)}
        yield _statement(f"n{index}", {**text, **_look(box)})


def _arrows(picture: Picture) -> Iterator[str]:
    for arrow in picture.arrows:
        ends = f"n{arrow.source} -> n{arrow.target}"
        yield _statement(ends, {**_arrow_text(arrow), **_LINES[arrow.line]})


def _arrow_text(arrow: Arrow) -> Attributes:
    told = _told("tooltip", arrow.details)
    if not arrow.label:
        return told
    # The space in front keeps the letters off the line.
    label = "\n".join(f" {line}" for line in wrapped(arrow.label, EDGE_WIDTH, EDGE_LINES_MAX))
    return {"label": label, **_told("labeltooltip", arrow.details), **told}


def _legend(picture: Picture) -> Iterator[str]:
    if not picture.legend:
        return
    yield "subgraph cluster_legend {"
    yield _statement("  graph", {"label": "Legend", "color": "#b3b3b3", "fontsize": "11"})
    for index, (style, text) in enumerate(picture.legend):
        look = {"label": cut(text, FACT_CHARACTERS_MAX), **_styled({}, style)}
        yield _statement(f"  l{index}", look)
    # Two side by side: one below another they would stand as far apart as the nodes beside them.
    for later in range(1, len(picture.legend)):
        if later % 2:
            step = _statement(f"l{later - 1} -> l{later}", {"style": "invis"})
            yield f"  {{ rank=same; {step} }}"
        if later >= 2:
            yield _statement(f"  l{later - 2} -> l{later}", {"style": "invis"})
    yield "}"


def _look(box: Box) -> Attributes:
    shape = _SHAPES[box.shape]
    return shape if box.style is None else _styled(shape, box.style)


def _styled(shape: Attributes, style: Style) -> Attributes:
    strokes = shape.get("style", "filled") + (",dashed" if style.is_dashed else "")
    return {
        **shape,
        "style": strokes,
        "fillcolor": style.fill,
        "color": style.border,
        "penwidth": "2.5" if style.is_bold else "1.5",
        "class": style.name,
    }


def _told(name: str, details: Sequence[str]) -> Attributes:
    if not details:
        return {}
    text = _cut_lines(details, DETAIL_CHARACTERS_MAX)
    return {name: text.replace("\\", _SAFE_BACKSLASH)}


def _cut_lines(lines: Sequence[str], characters_max: int) -> str:
    return "\n".join(cut(line, characters_max) for line in lines)


def _statement(what: str, attributes: Attributes) -> str:
    if not attributes:
        return f"{what};"
    return f"{what} [{', '.join(f'{name}={quoted(text)}' for name, text in attributes.items())}];"


def quoted(text: str) -> str:
    """A text as one string of DOT in which nothing is an escape; it may hold line feeds."""
    plain = _LOOKS_LIKE_ENTITY.sub(f"&{_NOTHING_WIDE}", text)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
