"""A picture as Mermaid, which many pages and editors draw; the same picture, the same text.

Mermaid finds directives, comments and entities by patterns over the whole document, so that quotes
alone protect nothing: every sign that may mean something to it is written as an entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from dipeo_server.domains.diagram.rendering.lettering import cut, wrapped
from dipeo_server.domains.diagram.rendering.picture import (
    Arrow,
    Box,
    Line,
    Picture,
    Shape,
    Style,
)

LABEL_WIDTH: Final = 32
LABEL_LINES_MAX: Final = 4
FACT_CHARACTERS_MAX: Final = 60
EDGE_WIDTH: Final = 32
EDGE_LINES_MAX: Final = 3
TITLE_CHARACTERS_MAX: Final = 100
INK: Final = "#1a1a1a"

_BRACKETS: Final[Mapping[Shape, tuple[str, str]]] = {
    Shape.START: ("([", "])"),
    Shape.END: ("(((", ")))"),
    Shape.CHOICE: ("{", "}"),
    Shape.PEOPLE: ("{{", "}}"),
    Shape.MODEL: ("(", ")"),
    Shape.CODE: ("[", "]"),
    Shape.DATA: ("[(", ")]"),
    Shape.CHILD: ("[[", "]]"),
    Shape.OTHER: ("[/", "/]"),
    Shape.MISSING: ("[", "]"),
}
_LINES: Final[Mapping[Line, str]] = {
    Line.PLAIN: "-->",
    Line.CHOSEN: "-->",
    Line.FALLBACK: "-.->",
    Line.BACK: "==>",
}
# Signs that begin lists or emphasis of Markdown are harmless inside of words only.
_SPECIAL: Final = re.compile(
    r"""["#$%&'*:;<=>@\[\\\]^`{|}~]|(?<=\d)\.|(?<![A-Za-z0-9])[-+_]|_(?![A-Za-z0-9])"""
)


def to_mermaid(picture: Picture) -> str:
    """The text of a flowchart, with a line feed at its end."""
    body = [*_boxes(picture), *_arrows(picture), *_legend(picture), *_classes(picture)]
    lines = [*_title(picture), "flowchart TB", *(f"  {line}" for line in body)]
    return "\n".join([*lines, ""])


def _title(picture: Picture) -> Iterator[str]:
    if picture.title:
        text = cut(" · ".join(picture.title), TITLE_CHARACTERS_MAX)
        yield from ("---", f'title: "{_SPECIAL.sub(_yaml_escape, text)}"', "---")


def _boxes(picture: Picture) -> Iterator[str]:
    for index, box in enumerate(picture.boxes):
        shown = wrapped(box.label, LABEL_WIDTH, LABEL_LINES_MAX)
        shown += [cut(fact, FACT_CHARACTERS_MAX) for fact in box.facts]
        opening, closing = _BRACKETS[box.shape]
        yield f"n{index}{opening}{quoted(shown)}{closing}"


def _arrows(picture: Picture) -> Iterator[str]:
    for arrow in picture.arrows:
        yield f"n{arrow.source} {_LINES[arrow.line]}{_arrow_text(arrow)} n{arrow.target}"


def _arrow_text(arrow: Arrow) -> str:
    if not arrow.label:
        return ""
    return f"|{quoted(wrapped(arrow.label, EDGE_WIDTH, EDGE_LINES_MAX))}|"


def _legend(picture: Picture) -> Iterator[str]:
    if not picture.legend:
        return
    yield 'subgraph legend ["Legend"]'
    for index, (_, text) in enumerate(picture.legend):
        yield f"  l{index}[{quoted([cut(text, FACT_CHARACTERS_MAX)])}]"
    yield "end"


def _classes(picture: Picture) -> Iterator[str]:
    """Which boxes have which style; styles in the order in which they first occur."""
    members: dict[str, list[str]] = {}
    styles: dict[str, Style] = {}
    for name, style in (*_styled_boxes(picture.boxes), *_styled_legend(picture)):
        styles[style.name] = style
        members.setdefault(style.name, []).append(name)
    for name, style in styles.items():
        yield f"classDef {name} {_look(style)}"
        yield f"class {','.join(members[name])} {name}"


def _styled_boxes(boxes: Iterable[Box]) -> Iterator[tuple[str, Style]]:
    for index, box in enumerate(boxes):
        if box.style is not None:
            yield f"n{index}", box.style


def _styled_legend(picture: Picture) -> Iterator[tuple[str, Style]]:
    for index, (style, _) in enumerate(picture.legend):
        yield f"l{index}", style


def _look(style: Style) -> str:
    width = "3px" if style.is_bold else "1.5px"
    dashes = ",stroke-dasharray:5 3" if style.is_dashed else ""
    return f"fill:{style.fill},stroke:{style.border},color:{INK},stroke-width:{width}{dashes}"


def quoted(lines: Iterable[str]) -> str:
    """Lines without control characters as one quoted text of Mermaid, which may not be empty."""
    text = "<br/>".join(_SPECIAL.sub(_entity, line) for line in lines)
    return f'"{text or " "}"'


def _entity(match: re.Match[str]) -> str:
    return f"#{ord(match[0])};"


def _yaml_escape(match: re.Match[str]) -> str:
    return f"\\U{ord(match[0]):08x}"
