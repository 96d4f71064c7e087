"""The picture of a run: how every node stands, readable without and for any sight of colours."""

import itertools
import math

import pytest

from dipeo_server.domains.diagram.rendering.dot import INK, to_dot
from dipeo_server.domains.diagram.rendering.mermaid import to_mermaid
from dipeo_server.domains.diagram.rendering.picture import Picture, Style
from dipeo_server.domains.execution.picture import STYLES, compose_run
from dipeo_server.domains.execution.state import view
from dipeo_server.domains.execution.status import NodeExecutionStatus
from tests.builders import SPECS, Story

Colour = tuple[float, float, float]


def pictured(story: Story) -> Picture:
    return compose_run(view(story.state), SPECS)


def facts(story: Story) -> dict[str, str]:
    """The last line at each box by its label."""
    return {box.label: box.facts[-1] for box in pictured(story).boxes}


def test_a_running_node_is_marked_in_words_sign_and_style() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    assert facts(story) == {"s": "✓ COMPLETED", "a": "▶ RUNNING", "e": "○ PENDING"}
    assert [box.style.name for box in pictured(story).boxes if box.style] == [
        "completed",
        "running",
        "pending",
    ]


def test_a_skipped_node_says_why() -> None:
    story = Story("s -> c; c.t -> a; c.f -> b; a -> e; b -> e2")
    story.returns("s")
    story.returns("c", port="condtrue")
    assert facts(story)["b"] == "» SKIPPED: branch_not_taken"
    details = {box.label: box.details for box in pictured(story).boxes}
    assert "skipped: branch_not_taken" in details["b"]


def test_a_failed_node_says_its_code_and_tells_its_message() -> None:
    story = Story("s -> a -> e")
    story.returns("s")
    story.raises("a")
    box = pictured(story).boxes[1]
    assert box.facts[-1] == "✗ FAILED: CODE_ERROR"
    assert box.details[-1] == "CODE_ERROR: a broke"


def test_visits_of_a_loop_are_counted() -> None:
    story = Story("s -> a -> c; c.f -> a; c.t -> e")
    story.returns("s")
    for _ in range(3):
        story.returns("a")
        story.returns("c", port="condfalse")
    assert facts(story)["a"] == "▶ RUNNING \N{MULTIPLICATION SIGN}4"
    assert facts(story)["c"] == "✓ COMPLETED \N{MULTIPLICATION SIGN}3"


def test_a_node_that_waits_for_a_person_says_so() -> None:
    story = Story("s -> g -> e")
    story.returns("s")
    story.asks("g")
    assert facts(story)["g"] == "‖ WAITING for a person"


def test_times_are_told_as_they_were_recorded() -> None:
    story = Story("s -> a -> e")
    story.wait(1)
    story.returns("s")
    assert pictured(story).boxes[0].details == (
        "s (start)",
        "COMPLETED at visit 1, attempt 1; 1 run",
        "started 2026-01-01 12:00:00 UTC",
        "took 1.000 s",
    )


def test_the_legend_counts_the_statuses_that_occur() -> None:
    story = Story("s -> a -> e; s -> b -> e")
    story.returns("s")
    picture = pictured(story)
    assert [text for _, text in picture.legend] == [
        "○ PENDING: 1",
        "▶ RUNNING: 2",
        "✓ COMPLETED: 1",
    ]
    assert picture.title == ("Run: RUNNING", f"x, up to event {story.state.last_seq}")


def test_a_run_is_always_the_same_text() -> None:
    story = Story("s -> a -> e; s -> b -> e")
    story.returns("s")
    assert to_dot(pictured(story)) == to_dot(pictured(story))
    assert to_mermaid(pictured(story)) == to_mermaid(pictured(story))


# --- what eyes can tell apart -------------------------------------------------------------------


def linear(colour: str) -> Colour:
    """Light of a `#rrggbb` colour."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return red, green, blue


def luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG, from 1 to 21."""
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", STYLES.values(), ids=lambda style: style.name)
def test_text_and_borders_stand_out(style: Style) -> None:
    assert contrast(INK, style.fill) >= 7
    assert contrast(style.border, style.fill) >= 3
    assert contrast(style.border, "#ffffff") >= 3


def test_every_status_has_a_sign_and_a_style_of_its_own() -> None:
    assert set(STYLES) == set(NodeExecutionStatus)
    for one, other in itertools.combinations(STYLES.values(), 2):
        assert one.sign != other.sign
        assert one.name != other.name
        assert one.fill != other.fill


# How the light of a colour arrives at eyes that lack one kind of cones (Viénot and others, 1999).
VISIONS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red cones": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
    "no green cones": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
}


def perceived(colour: str, vision: str) -> Colour:
    """The colour in CIELAB, where about 2 is the smallest difference that is seen."""
    red, green, blue = (
        sum(share * part for share, part in zip(row, linear(colour), strict=True))
        for row in VISIONS[vision]
    )
    x, y, z = (
        value ** (1 / 3)
        for value in (
            (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047,
            0.2126 * red + 0.7152 * green + 0.0722 * blue,
            (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883,
        )
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("vision", VISIONS)
def test_whatever_colours_people_see_fills_or_strokes_differ(vision: str) -> None:
    for one, other in itertools.combinations(STYLES.values(), 2):
        if (one.is_bold, one.is_dashed) == (other.is_bold, other.is_dashed):
            difference = math.dist(perceived(one.fill, vision), perceived(other.fill, vision))
            assert difference >= 10, (one.name, other.name)
