"""DOT text: Graphviz reads exactly the picture, whatever authors write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipeo_server.domains.diagram.rendering.dot import (
    CHOICE_WIDTH,
    EDGE_LINES_MAX,
    EDGE_WIDTH,
    LABEL_LINES_MAX,
    LABEL_WIDTH,
    quoted,
    to_dot,
)
from dipeo_server.domains.diagram.rendering.lettering import wrapped
from dipeo_server.domains.diagram.rendering.picture import (
    Arrow,
    Box,
    Line,
    Picture,
    Shape,
    Style,
)
from tests.domains.diagram.rendering.authors import NASTY, texts
from tests.drawing import dot, groups, needs_dot, objects

# What a text may change: itself, and how large things are.
OF_TEXT = {"label", "tooltip", "labeltooltip", "pos", "lp", "width", "height", "rects"}
NOTHING_WIDE = "\N{ZERO WIDTH NON-JOINER}"


def pictured(*labels: str) -> Picture:
    """A picture with every text everywhere, and every shape and line."""
    shapes, lines = list(Shape), list(Line)
    boxes = tuple(
        Box(label, shapes[number % len(shapes)], (label,), (label, label))
        for number, label in enumerate(labels)
    )
    arrows = tuple(
        Arrow(number, (number + 1) % len(labels), label, lines[number % len(lines)], (label,))
        for number, label in enumerate(labels)
    )
    return Picture(boxes, arrows, labels, ((Style("fine", "!", "#ffffff", "#000000"), labels[0]),))


def test_a_picture_is_always_the_same_text() -> None:
    assert to_dot(pictured(*NASTY)) == to_dot(pictured(*NASTY))


@needs_dot
@settings(max_examples=40)
@given(st.lists(texts, min_size=1, max_size=8))
def test_text_of_authors_changes_nothing_but_texts_and_sizes(labels: list[str]) -> None:
    harmless = objects(to_dot(pictured(*("a" if label else "" for label in labels))))
    found = objects(to_dot(pictured(*labels)))
    for expected, present in zip(harmless, found, strict=True):
        assert [structure(each) for each in present] == [structure(each) for each in expected]


def structure(drawn: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in drawn.items() if name not in OF_TEXT}


@needs_dot
@settings(max_examples=40)
@given(st.lists(texts, min_size=1, max_size=8))
def test_what_authors_wrote_is_what_is_read_in_the_picture(labels: list[str]) -> None:
    boxes = tuple(Box(label, Shape.CODE) for label in labels)
    arrows = tuple(Arrow(number, number, label) for number, label in enumerate(labels))
    svg = dot(to_dot(Picture(boxes, arrows)), "svg")
    for number, label in enumerate(labels):
        shown = groups(svg, "node")[f"n{number}"]
        assert plain(shown.lines) == seen(wrapped(label, LABEL_WIDTH, LABEL_LINES_MAX))
        shown = groups(svg, "edge")[f"n{number}->n{number}"]
        assert plain(shown.lines) == seen(wrapped(label, EDGE_WIDTH, EDGE_LINES_MAX))


def plain(lines: tuple[str, ...]) -> str:
    """The letters that are shown, without spaces and without what has no width."""
    return "".join("".join(lines).replace(NOTHING_WIDE, "").split())


def seen(lines: list[str]) -> str:
    return plain(tuple(lines))


@needs_dot
@pytest.mark.parametrize("text", NASTY)
def test_a_tooltip_says_what_an_author_wrote(text: str) -> None:
    picture = Picture((Box("a", Shape.CODE, (), (text[:50],)),), ())
    drawn = groups(dot(to_dot(picture), "svg"), "node")["n0"]
    expected = "".join(wrapped(text[:50], 60, 10)).replace("\\", "\N{REVERSE SOLIDUS OPERATOR}")
    assert plain((drawn.tooltip or "",)) == plain((expected,))


@pytest.mark.parametrize(
    "text, written",
    [
        ("a", '"a"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("two\nlines", '"two\\nlines"'),
        ("\\N", '"\\\\N"'),
        ("a & b", '"a & b"'),
        ("&lt;", f'"&{NOTHING_WIDE}lt;"'),
    ],
)
def test_quoted_text_has_no_escapes_but_line_feeds(text: str, written: str) -> None:
    assert quoted(text) == written


def test_a_long_label_is_wrapped_and_cut() -> None:
    text = to_dot(Picture((Box("word " * 2_000, Shape.CHOICE),), ()))
    label = text.partition('label="')[2].partition('"')[0]
    assert label.count("\\n") == LABEL_LINES_MAX - 1
    assert max(len(line) for line in label.split("\\n")) <= CHOICE_WIDTH
    assert label.endswith("…")


def test_lines_say_when_an_edge_is_followed() -> None:
    boxes = (Box("a", Shape.CODE), Box("b", Shape.CODE))
    arrows = tuple(Arrow(0, 1, line=line) for line in Line)
    plain_, chosen, fallback, back = [
        each.strip() for each in to_dot(Picture(boxes, arrows)).splitlines() if "->" in each
    ]
    assert plain_ == "n0 -> n1;"
    assert 'arrowhead="onormal"' in chosen
    assert 'style="dashed"' in fallback
    assert 'constraint="false"' in back


@needs_dot
def test_an_empty_picture_is_a_picture() -> None:
    assert objects(to_dot(Picture((), ()))) == ([], [])


@needs_dot
@pytest.mark.parametrize("count", [1, 3])
def test_the_legend_shows_every_style_and_no_edges(count: int) -> None:
    legend = tuple(
        (Style("fine", "!", "#ffffff", "#000000"), f"! FINE: {number}") for number in range(count)
    )
    svg = dot(to_dot(Picture((), (), legend=legend)), "svg")
    shown = groups(svg, "node")
    assert [shown[f"l{number}"].lines for number in range(count)] == [(text,) for _, text in legend]
    assert groups(svg, "edge") == {}
