"""Mermaid text: every line has the form of its kind, and texts are nothing but texts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.rendering.lettering import wrapped
from dipeo_server.domains.diagram.rendering.mermaid import (
    EDGE_LINES_MAX,
    EDGE_WIDTH,
    LABEL_LINES_MAX,
    LABEL_WIDTH,
    quoted,
    to_mermaid,
)
from dipeo_server.domains.diagram.rendering.picture import Arrow, Box, Line, Picture, Shape, Style
from tests.domains.diagram.rendering.authors import NASTY, texts

# A text: letters, harmless marks, entities and line breaks.
TEXT = r'"((?:[^"#$%&\x27*:;<=>@\[\\\]^`{|}~\x00-\x1f\x7f]|#\d+;|<br/>)*)"'
NODE = re.compile(rf"  n(\d+)[\[({{/]{{1,3}}{TEXT}[\])}}/]{{1,3}}")
EDGE = re.compile(rf"  n(\d+) (?:-->|-\.->|==>)(?:\|{TEXT}\|)? n(\d+)")
FINE = Style("fine", "!", "#ffffff", "#000000", is_bold=True)
POOR = Style("poor", "?", "#eeeeee", "#111111", is_dashed=True)


def read(text: str) -> str:
    """What a reader sees of a text."""
    return re.sub(r"#(\d+);", lambda entity: chr(int(entity[1])), text)


@given(st.lists(texts, min_size=1, max_size=8))
def test_every_line_has_its_form_and_says_what_was_written(labels: list[str]) -> None:
    shapes, lines = list(Shape), list(Line)
    boxes = tuple(Box(label, shapes[number % len(shapes)]) for number, label in enumerate(labels))
    arrows = tuple(
        Arrow(number, 0, label, lines[number % len(lines)]) for number, label in enumerate(labels)
    )
    opening, *body = to_mermaid(Picture(boxes, arrows)).split("\n")[:-1]
    assert opening == "flowchart TB"
    for number, label in enumerate(labels):
        node = NODE.fullmatch(body[number])
        assert node is not None, body[number]
        expected = "<br/>".join(wrapped(label, LABEL_WIDTH, LABEL_LINES_MAX)) or " "
        assert (node[1], read(node[2])) == (str(number), expected)
    for number, label in enumerate(labels):
        line = body[len(labels) + number]
        edge = EDGE.fullmatch(line)
        assert edge is not None, line
        expected = "<br/>".join(wrapped(label, EDGE_WIDTH, EDGE_LINES_MAX)) or " "
        assert (edge[1], edge[3]) == (str(number), "0")
        assert (None if edge[2] is None else read(edge[2])) == (expected if label else None)


@given(texts)
def test_a_title_is_one_string_of_yaml(title: str) -> None:
    lines = to_mermaid(Picture((), (), (title,))).split("\n")
    assert (lines[0], lines[2:]) == ("---", ["---", "flowchart TB", ""])
    assert re.fullmatch(r'title: "(?:[^"\\%\x00-\x1f]|\\U[0-9a-f]{8})*"', lines[1])


@pytest.mark.parametrize(
    "text, written",
    [
        ("a (b), c!", '"a (b), c!"'),
        ("code_job", '"code_job"'),
        ("well-known", '"well-known"'),
        ("data.json", '"data.json"'),
        ("1. one", '"1#46; one"'),
        ("- one", '"#45; one"'),
        ("__init__", '"#95;#95;init#95;#95;"'),
        ('"hi"', '"#34;hi#34;"'),
        ("%%{init}%%", '"#37;#37;#123;init#125;#37;#37;"'),
        ("#quot;", '"#35;quot#59;"'),
        ("ünï ↺", '"ünï ↺"'),
        ("", '" "'),
    ],
)
def test_signs_that_mean_something_to_mermaid_or_markdown_are_entities(
    text: str, written: str
) -> None:
    assert quoted([text]) == written


def test_styles_are_classes_with_their_members() -> None:
    boxes = (
        Box("a", Shape.START, style=FINE),
        Box("b", Shape.CODE, ("work", "done"), style=POOR),
        Box("c", Shape.CODE),
        Box("d", Shape.END, style=FINE),
    )
    picture = Picture(boxes, (Arrow(0, 1),), ("A run",), ((FINE, "! FINE: 2"),))
    assert to_mermaid(picture).splitlines() == [
        "---",
        'title: "A run"',
        "---",
        "flowchart TB",
        '  n0(["a"])',
        '  n1["b<br/>work<br/>done"]',
        '  n2["c"]',
        '  n3((("d")))',
        "  n0 --> n1",
        '  subgraph legend ["Legend"]',
        '    l0["! FINE#58; 2"]',
        "  end",
        "  classDef fine fill:#ffffff,stroke:#000000,color:#1a1a1a,stroke-width:3px",
        "  class n0,n3,l0 fine",
        (
            "  classDef poor fill:#eeeeee,stroke:#111111,color:#1a1a1a,stroke-width:1.5px,"
            "stroke-dasharray:5 3"
        ),
        "  class n1 poor",
    ]


def test_a_picture_is_always_the_same_text() -> None:
    picture = Picture(tuple(Box(text, Shape.DATA) for text in NASTY), (), tuple(NASTY))
    assert to_mermaid(picture) == to_mermaid(picture)
