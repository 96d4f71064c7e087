"""Images by the real `dot`: what they are, that they are safe, and how it ends where none comes."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.diagram.rendering.composing import compose_document
from dipeo_server.domains.diagram.rendering.dot import to_dot
from dipeo_server.domains.diagram.rendering.picture import Arrow, Box, Picture, Shape
from dipeo_server.domains.diagram.rendering.renderer import (
    ImageFormat,
    PictureTooLarge,
    RendererMissing,
    RenderFailed,
)
from dipeo_server.node_types import node_types
from dipeo_server.runtime.graphviz import DrawingLimits, GraphvizRenderer
from tests.domains.diagram.rendering.authors import NASTY
from tests.drawing import groups, needs_dot

SMALL = to_dot(Picture((Box("first", Shape.START), Box("last", Shape.END)), (Arrow(0, 1, "go"),)))
PNG_BEGINS = b"\x89PNG\r\n\x1a\n"
PNG_ENDS = b"IEND\xaeB`\x82"


def program(folder: Path, text: str) -> str:
    """A program that stands in for another version of `dot`, or for a broken one."""
    file = folder / "dot"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


@needs_dot
async def test_an_svg_image_is_one_element_with_the_texts_of_the_picture() -> None:
    image = await GraphvizRenderer().draw(SMALL, ImageFormat.SVG)
    assert image.startswith(b"<svg ")
    assert image.rstrip().endswith(b"</svg>")
    drawn = groups(image.decode(), "node")
    assert {name: node.lines for name, node in drawn.items()} == {
        "n0": ("first",),
        "n1": ("last",),
    }


@needs_dot
async def test_real_diagrams_are_drawn_with_all_their_nodes(corpus: Path) -> None:
    specs = node_types().specs
    drawn = 0
    for file in sorted([*corpus.rglob("*.yaml"), *corpus.rglob("*.json")]):
        diagram = read_diagram(file.read_text(), specs=specs).diagram
        assert diagram is not None, file
        image = await GraphvizRenderer().draw(
            to_dot(compose_document(diagram, specs)), ImageFormat.SVG
        )
        assert len(groups(image.decode(), "node")) == len(diagram.nodes), file
        drawn += 1
    assert drawn > 0


@needs_dot
async def test_a_png_image_is_whole() -> None:
    image = await GraphvizRenderer().draw(SMALL, ImageFormat.PNG)
    assert image.startswith(PNG_BEGINS)
    assert image.endswith(PNG_ENDS)


@needs_dot
async def test_a_huge_picture_is_scaled_down_to_what_fits_into_memory() -> None:
    boxes = tuple(Box(f"node {number}", Shape.CODE) for number in range(600))
    arrows = tuple(Arrow(0, number) for number in range(1, 600))
    image = await GraphvizRenderer().draw(to_dot(Picture(boxes, arrows)), ImageFormat.PNG)
    width, height = (int.from_bytes(image[at : at + 4], "big") for at in (16, 20))
    assert max(width, height) <= 60 * 96


@needs_dot
async def test_nothing_that_authors_write_makes_an_image_unsafe() -> None:
    texts = [*NASTY, 'href="http://x"', "<a href='x'>", '<image src="x"/>', "javascript:x"]
    boxes = tuple(Box(text, Shape.DATA, (text,), (text,)) for text in texts)
    arrows = tuple(Arrow(0, number, text, details=(text,)) for number, text in enumerate(texts))
    image = await GraphvizRenderer().draw(to_dot(Picture(boxes, arrows)), ImageFormat.SVG)
    assert len(groups(image.decode(), "node")) == len(texts)
    assert b"<script" not in image
    assert b"<image" not in image
    assert b"<!DOCTYPE" not in image


@needs_dot
@pytest.mark.parametrize(
    "dot",
    [
        'digraph { a [URL="javascript:alert(1)"] }',
        'digraph { a [label=<<TABLE><TR><TD HREF="http://x/">x</TD></TR></TABLE>>] }',
    ],
)
async def test_an_image_with_links_is_refused(dot: str) -> None:
    with pytest.raises(RenderFailed, match="not safe to show"):
        await GraphvizRenderer().draw(dot, ImageFormat.SVG)


@needs_dot
async def test_no_file_is_loaded_into_an_image(tmp_path: Path) -> None:
    drawing = tmp_path / "other.svg"
    drawing.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    dot = f'digraph {{ a [image="{drawing}"] }}'
    image = await GraphvizRenderer().draw(dot, ImageFormat.SVG)
    assert str(drawing).encode() not in image


async def test_without_the_program_the_error_says_what_to_install() -> None:
    with pytest.raises(RendererMissing) as caught:
        await GraphvizRenderer(program="no-such-dot").draw(SMALL, ImageFormat.SVG)
    assert caught.value.code == "RENDERER_MISSING"
    assert "apt install graphviz" in (caught.value.hint or "")


@needs_dot
async def test_text_that_is_no_graph_is_told_with_the_words_of_graphviz() -> None:
    with pytest.raises(RenderFailed, match="syntax error"):
        await GraphvizRenderer().draw("digraph {", ImageFormat.SVG)


async def test_drawing_ends_at_its_time_limit(tmp_path: Path) -> None:
    slow = GraphvizRenderer(DrawingLimits(seconds=0.2), program(tmp_path, "exec sleep 30"))
    with pytest.raises(PictureTooLarge, match=r"within 0\.2 s"):
        await slow.draw(SMALL, ImageFormat.SVG)


async def test_what_a_wrapper_has_started_ends_with_it(tmp_path: Path) -> None:
    slow = GraphvizRenderer(DrawingLimits(seconds=0.2), program(tmp_path, "sleep 300; exit 1"))
    with pytest.raises(PictureTooLarge):
        await slow.draw(SMALL, ImageFormat.SVG)


async def test_an_endless_image_is_cut_off(tmp_path: Path) -> None:
    endless = GraphvizRenderer(DrawingLimits(image_bytes=1000), program(tmp_path, "exec yes"))
    with pytest.raises(PictureTooLarge, match="larger than 1000 bytes"):
        await endless.draw(SMALL, ImageFormat.SVG)


async def test_words_on_standard_error_are_no_failure(tmp_path: Path) -> None:
    text = "echo 'Warning: no such font' >&2; echo '<?xml?><!DOCTYPE svg><svg></svg>'"
    image = await GraphvizRenderer(program=program(tmp_path, text)).draw(SMALL, ImageFormat.SVG)
    assert image == b"<svg></svg>\n"


async def test_a_program_that_dies_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RenderFailed, match="exit code 7"):
        await GraphvizRenderer(program=program(tmp_path, "exit 7")).draw(SMALL, ImageFormat.PNG)


async def test_an_empty_image_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RenderFailed, match="or nothing"):
        await GraphvizRenderer(program=program(tmp_path, "exit 0")).draw(SMALL, ImageFormat.SVG)


async def test_a_script_in_an_image_is_refused(tmp_path: Path) -> None:
    strange = program(tmp_path, "echo '<svg><script>alert(1)</script></svg>'")
    with pytest.raises(RenderFailed, match="not safe to show: script"):
        await GraphvizRenderer(program=strange).draw(SMALL, ImageFormat.SVG)


async def test_a_program_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    broken = tmp_path / "dot"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(RenderFailed, match="Cannot start"):
        await GraphvizRenderer(program=str(broken)).draw(SMALL, ImageFormat.SVG)


async def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"exec 3> {pipe}; echo begun >&3; exec sleep 300"
    renderer = GraphvizRenderer(program=program(tmp_path, script))
    drawing = asyncio.create_task(renderer.draw(SMALL, ImageFormat.SVG))
    with await asyncio.to_thread(pipe.open) as held:
        assert await asyncio.to_thread(held.readline) == "begun\n"
        drawing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drawing
        # The end of the pipe comes when nobody holds its other end any more.
        assert await asyncio.to_thread(held.read) == ""


async def test_only_so_many_are_drawn_at_once(tmp_path: Path) -> None:
    # Each makes a folder that only one can make, and removes it at its end.
    script = f"mkdir {tmp_path}/busy || exit 9; sleep 0.05; rmdir {tmp_path}/busy; echo '<svg/>'"
    renderer = GraphvizRenderer(DrawingLimits(at_once=1), program(tmp_path, script))
    images = await asyncio.gather(*(renderer.draw(SMALL, ImageFormat.SVG) for _ in range(4)))
    assert images == [b"<svg/>\n"] * 4
