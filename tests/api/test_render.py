"""Pictures over GraphQL: of a document, of a revision, and of a run as it stands."""

import base64
import json
import re
from pathlib import Path

import httpx

from dipeo_server.api.context import ApiLimits
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.node_types import built_in_node_types
from tests.api.keeping import create, update
from tests.api.serving import ASKING, STRAIGHT, Live, light, serving
from tests.api.test_queries import wait_for_barrier
from tests.cli.processes import served
from tests.drawing import groups, needs_dot, objects

OF_DOCUMENT = """
query ($content: String!, $format: RenderFormat!) {
  validateDiagram(content: $content, format: LIGHT) { isValid render(format: $format) }
}"""
OF_RUN = """
query ($id: ID!, $format: RenderFormat!) {
  execution(id: $id) { lastSequence render(format: $format) }
}"""
OF_REVISION = """
query ($id: ID!, $format: RenderFormat!) {
  execution(id: $id) { revision { render(format: $format) } }
}"""
OF_STORED = """
query ($id: ID!, $format: RenderFormat!) {
  diagram(id: $id) {
    head { render(format: $format) }
    revision(number: 1) { render(format: $format) }
  }
}"""


async def of_document(live: Live, content: str, format_: str) -> str:
    report = await live.data(OF_DOCUMENT, content=content, format=format_)
    found: str = report["validateDiagram"]["render"]
    return found


async def of_run(live: Live, run: str, format_: str) -> str:
    found: str = (await live.data(OF_RUN, id=run, format=format_))["execution"]["render"]
    return found


@needs_dot
async def test_a_document_is_drawn_in_every_format(live: Live) -> None:
    nodes, edges = objects(await of_document(live, STRAIGHT, "DOT"))
    assert [len(nodes), len(edges)] == [3, 2]
    assert "flowchart TB" in await of_document(live, STRAIGHT, "MERMAID")
    drawn = groups(await of_document(live, STRAIGHT, "SVG"), "node")
    assert [each.lines[0] for each in drawn.values()] == ["begin", "work", "end"]
    image = base64.b64decode(await of_document(live, STRAIGHT, "PNG"), validate=True)
    assert image.startswith(b"\x89PNG\r\n\x1a\n")


async def test_a_document_that_cannot_run_is_drawn_as_far_as_it_can_be_read(live: Live) -> None:
    lonely = light("a -> b", a="transform", b="no_such_type", c="start")
    report = await live.data(OF_DOCUMENT, content=lonely, format="MERMAID")
    assert report["validateDiagram"]["isValid"] is False
    assert '"b<br/>no_such_type"' in report["validateDiagram"]["render"]


async def test_a_document_that_cannot_be_read_has_no_picture(live: Live) -> None:
    report = await live.data(OF_DOCUMENT, content="nodes: [", format="DOT")
    assert report["validateDiagram"] == {"isValid": False, "render": None}


async def test_a_run_shows_how_each_node_stands(live: Live) -> None:
    run = await live.started(ASKING)
    await wait_for_barrier(live, run)
    text = await of_run(live, run, "MERMAID")
    assert '"begin<br/>start<br/>✓ COMPLETED"' in text
    assert '"gate<br/>barrier<br/>‖ WAITING for a person"' in text
    assert '"end<br/>endpoint<br/>○ PENDING"' in text
    assert f"WAITING · {run}" in plain(text)


def plain(text: str) -> str:
    """A Mermaid text with its title as people see it."""
    return re.sub(r"\\U([0-9a-f]{8})", lambda escape: chr(int(escape[1], 16)), text)


@needs_dot
async def test_the_image_of_a_run_has_signs_classes_and_a_legend(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    svg = await of_run(live, run, "SVG")
    drawn = groups(svg, "node")
    assert [drawn[name].lines[-1] for name in ("n0", "n1", "n2")] == ["✓ COMPLETED"] * 3
    assert drawn["l0"].lines == ("✓ COMPLETED: 3",)
    assert svg.count('class="node completed"') == 4
    assert "took" in (drawn["n1"].tooltip or "")


async def test_the_same_snapshot_is_always_the_same_picture(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    assert await of_run(live, run, "DOT") == await of_run(live, run, "DOT")


async def test_a_revision_is_drawn_without_a_run(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    data = await live.data(OF_REVISION, id=run, format="DOT")
    text = data["execution"]["revision"]["render"]
    assert text == await of_document(live, f"name: test\n{STRAIGHT}", "DOT")
    assert "COMPLETED" not in text


async def test_a_stored_revision_is_drawn_as_it_was_then(live: Live) -> None:
    stored = (await create(live, STRAIGHT))["diagram"]["id"]
    await update(live, stored, 1, ASKING)
    data = await live.data(OF_STORED, id=stored, format="MERMAID")
    assert '"gate<br/>barrier"' in data["diagram"]["head"]["render"]
    assert '"work<br/>transform"' in data["diagram"]["revision"]["render"]


async def test_a_stored_revision_that_cannot_run_any_more_is_drawn_as_it_was_sent(
    base_dir: Path,
) -> None:
    known = built_in_node_types()
    entries = (known.get(type_) for type_ in known.specs if type_ != "transform")
    fewer = HandlerRegistry(entry for entry in entries if entry is not None).freeze()
    store = f"sqlite:{base_dir / 'it.db'}"
    async with serving(base_dir, store=store) as live:
        stored = (await create(live, STRAIGHT))["diagram"]["id"]
    async with serving(base_dir, store=store, registry=fewer) as live:
        data = await live.data(OF_STORED, id=stored, format="DOT")
    assert "This server has no such type of node." in data["diagram"]["head"]["render"]


async def test_listed_runs_are_drawn_too(live: Live) -> None:
    await live.ended(STRAIGHT)
    data = await live.data("{ executions { nodes { render(format: DOT) } } }")
    (node,) = data["executions"]["nodes"]
    assert "✓ COMPLETED" in node["render"]


async def test_an_operation_draws_so_many_pictures_and_no_more(base_dir: Path) -> None:
    two = "{ a: RENDER b: RENDER }".replace(
        "RENDER", f"validateDiagram(content: {json.dumps(STRAIGHT)}) {{ render(format: DOT) }}"
    )
    async with serving(base_dir, limits=ApiLimits(pictures=1)) as live:
        answer = await live.answer(two)
        again = await live.answer(two.replace("b:", "a:"))
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert "errors" not in again


def test_a_server_without_graphviz_draws_text_and_says_what_is_missing(tmp_path: Path) -> None:
    with served("--store", "memory:", "--base-dir", tmp_path, env={"PATH": str(tmp_path)}) as url:
        text, image = (
            httpx.post(
                url,
                json={
                    "query": OF_DOCUMENT,
                    "variables": {"content": STRAIGHT, "format": format_},
                },
            ).json()
            for format_ in ("DOT", "SVG")
        )
    assert text["data"]["validateDiagram"]["render"].startswith("digraph")
    (error,) = image["errors"]
    assert error["extensions"]["code"] == "RENDERER_MISSING"
    assert "apt install graphviz" in error["extensions"]["hint"]
    assert image["data"]["validateDiagram"] == {"isValid": True, "render": None}
