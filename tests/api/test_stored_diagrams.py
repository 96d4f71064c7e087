"""Stored diagrams on a real server: kept, changed, put away, listed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.api.ids import Kind, PartID
from dipeo_server.domains.execution.ids import DiagramID
from tests.api.keeping import CREATE, archive, create, created, run, update
from tests.api.serving import STRAIGHT, Live, light, serving

OTHER = light("begin -> end", begin="start", end="endpoint")
COMMENTED = f"# kept as it is\n{STRAIGHT}\n\n# to the end"
WHOLE = """query ($id: ID!) { diagram(id: $id) { id name description head {
  id number contentHash createdAt diagram { id } content(format: LIGHT)
  nodes { key type label outgoing { target { key } } } edges { key source { key } }
  persons { key } node(key: "work") { key } problems { code line severity } } } }"""
LIST = """query ($first: Int, $after: String, $last: Int, $before: String, $filter: DiagramFilter) {
  diagrams(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    totalCount nodes { name } edges { cursor node { id head { number } } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


async def names(live: Live, **chosen: Any) -> list[str]:
    page = (await live.data(LIST, filter=chosen))["diagrams"]
    assert page["totalCount"] == len(page["nodes"])
    return [each["name"] for each in page["nodes"]]


# --- createDiagram ------------------------------------------------------------------------------


async def test_a_diagram_is_kept_as_it_was_sent(live: Live) -> None:
    payload = await create(live, COMMENTED, name="Plan", description="why")
    assert payload["errors"] == []
    made, revision = payload["diagram"], payload["revision"]
    assert (made["name"], made["description"], made["archivedAt"]) == ("Plan", "why", None)
    assert made["createdAt"] == made["updatedAt"] == made["head"]["createdAt"]
    assert revision == {"id": made["head"]["id"], "number": 1}
    found = (await live.data(WHOLE, id=made["id"]))["diagram"]
    head = found["head"]
    assert head["content"] == COMMENTED
    assert (head["number"], head["diagram"]) == (1, {"id": made["id"]})
    assert [node["key"] for node in head["nodes"]] == ["begin", "work", "end"]
    assert head["nodes"][0]["outgoing"] == [{"target": {"key": "work"}}]
    assert [edge["source"]["key"] for edge in head["edges"]] == ["begin", "work"]
    assert (head["node"], head["persons"]) == ({"key": "work"}, [])


async def test_warnings_of_a_kept_diagram_name_their_lines(live: Live) -> None:
    content = light("begin -> end", begin="start", end="endpoint", alone="transform")
    made = await created(live, content)
    [problem] = (await live.data(WHOLE, id=made["id"]))["diagram"]["head"]["problems"]
    assert (problem["severity"], problem["line"]) == ("WARNING", 5)


async def test_the_content_hash_is_that_of_a_run(live: Live) -> None:
    made = await created(live, STRAIGHT)
    run = await live.ended(COMMENTED)
    query = "query ($id: ID!) { execution(id: $id) { revision { contentHash } } }"
    of_run = (await live.data(query, id=run))["execution"]["revision"]["contentHash"]
    assert made["head"]["contentHash"] == of_run


async def test_a_diagram_may_be_kept_as_nodes_and_edges(live: Live) -> None:
    given = {
        "name": "drawn",
        "nodes": [
            {"key": "a", "type": "START", "position": {"x": 1, "y": 2}},
            {"key": "b", "label": "Bee", "type": "DELAY", "props": {"seconds": 0}, "join": "ANY"},
        ],
        "edges": [{"source": "a", "target": "b", "contentType": "OBJECT"}],
        "persons": {"z": {"service": "echo", "model": "m"}, "a": {"service": "echo", "model": "m"}},
    }
    made = (await live.data(CREATE, input=given))["createDiagram"]
    assert made["errors"] == []
    query = """query ($id: ID!) { diagram(id: $id) { head { nodes { key label join position { x } }
      edges { contentType } persons { key } content(format: LIGHT) } } }"""
    head = (await live.data(query, id=made["diagram"]["id"]))["diagram"]["head"]
    assert head["nodes"] == [
        {"key": "a", "label": "a", "join": "ALL", "position": {"x": 1}},
        {"key": "b", "label": "Bee", "join": "ANY", "position": None},
    ]
    assert head["edges"] == [{"contentType": "OBJECT"}]
    assert [person["key"] for person in head["persons"]] == ["z", "a"]
    checked = await live.data(
        "query ($c: String!) { validateDiagram(content: $c) { isValid } }", c=head["content"]
    )
    assert checked["validateDiagram"] == {"isValid": True}


async def test_a_kept_diagram_comes_out_in_every_format_and_back(live: Live) -> None:
    made = await created(live, COMMENTED)
    query = """query ($id: ID!) { diagram(id: $id) { head { contentHash
      light: content(format: LIGHT) native: content(format: NATIVE)
      readable: content(format: READABLE) } } }"""
    written = (await live.data(query, id=made["id"]))["diagram"]["head"]
    for format_ in ("native", "readable"):
        again = await created(live, written[format_])
        head = (await live.data(query, id=again["id"]))["diagram"]["head"]
        assert head[format_] == written[format_]
        assert head["contentHash"] == written["contentHash"], format_


async def test_what_cannot_run_is_not_kept(live: Live) -> None:
    payload = await create(live, light("a -> b", a="start"))
    [error] = payload["errors"]
    assert (payload["diagram"], payload["revision"]) == (None, None)
    assert (error["__typename"], error["code"]) == ("DiagramInvalid", "INVALID")
    assert [problem["code"] for problem in error["problems"]]
    assert await names(live) == []


@pytest.mark.parametrize(
    "given, field",
    [
        ({"name": " ", "content": STRAIGHT}, ["input", "name"]),
        ({"name": "x" * 201, "content": STRAIGHT}, ["input", "name"]),
        ({"name": "x"}, ["input"]),
        ({"name": "x", "content": STRAIGHT, "nodes": []}, ["input"]),
        ({"name": "x", "content": STRAIGHT, "edges": [{"source": "a", "target": "b"}]}, None),
        ({"name": "x", "nodes": [{"key": "a", "type": "UNKNOWN"}]}, None),
    ],
)
async def test_a_wrong_input_is_named(
    live: Live, given: dict[str, Any], field: list[str] | None
) -> None:
    payload = (await live.data(CREATE, input=given))["createDiagram"]
    [error] = payload["errors"]
    assert (error["__typename"], error["code"]) == ("InputProblem", "INVALID")
    assert error["field"][0] == "input"
    assert field is None or error["field"] == field


# --- updateDiagram ------------------------------------------------------------------------------


async def test_an_update_is_a_new_revision_and_the_old_one_stays(live: Live) -> None:
    made = await created(live, STRAIGHT)
    payload = await update(live, made["id"], 1, OTHER, name="better")
    assert payload["errors"] == []
    assert payload["revision"]["number"] == 2
    assert payload["diagram"]["name"] == "better"
    query = """query ($id: ID!) { diagram(id: $id) { head { number content(format: LIGHT) }
      old: revision(number: 1) { number content(format: LIGHT) } none: revision(number: 3) { id }
      revisions { totalCount nodes { number } } } }"""
    found = (await live.data(query, id=made["id"]))["diagram"]
    assert found["head"] == {"number": 2, "content": OTHER}
    assert found["old"] == {"number": 1, "content": STRAIGHT}
    assert found["none"] is None
    assert found["revisions"] == {"totalCount": 2, "nodes": [{"number": 2}, {"number": 1}]}


async def test_what_did_not_change_makes_no_revision(live: Live) -> None:
    made = await created(live, STRAIGHT)
    payload = await update(live, made["id"], 1, STRAIGHT)
    assert (payload["errors"], payload["diagram"]) == ([], made)
    payload = await update(live, made["id"], 1, COMMENTED)
    assert payload["revision"]["number"] == 2
    assert payload["diagram"]["head"]["contentHash"] == made["head"]["contentHash"]


async def test_a_stale_update_is_told_the_head(live: Live) -> None:
    made = await created(live, STRAIGHT)
    second = await update(live, made["id"], 1, OTHER)
    payload = await update(live, made["id"], 1, COMMENTED)
    [error] = payload["errors"]
    assert (error["__typename"], error["code"]) == ("StaleRevision", "STALE_REVISION")
    assert error["field"] == ["expectedRevision"]
    head = second["diagram"]["head"]
    assert error["head"] == {name: head[name] for name in ("id", "number", "contentHash")}


async def test_of_updates_at_once_one_wins(live: Live) -> None:
    made = await created(live, STRAIGHT)
    texts = [f"{STRAIGHT}\n# {number}" for number in range(10)]
    payloads = await asyncio.gather(*(update(live, made["id"], 1, text) for text in texts))
    [won] = [payload for payload in payloads if not payload["errors"]]
    assert won["revision"]["number"] == 2
    codes = [payload["errors"][0]["code"] for payload in payloads if payload["errors"]]
    assert codes == ["STALE_REVISION"] * 9


async def test_what_is_not_there_cannot_be_changed(live: Live) -> None:
    for payload in (await update(live, "diagram_no", 1, STRAIGHT), await archive(live, "exec_x")):
        [error] = payload["errors"]
        assert (error["__typename"], error["code"]) == ("NotFound", "NOT_FOUND")


# --- archiveDiagram -----------------------------------------------------------------------------


async def test_what_is_archived_can_be_read_and_not_changed(live: Live) -> None:
    made = await created(live, STRAIGHT)
    archived = (await archive(live, made["id"]))["diagram"]
    assert archived["archivedAt"] == archived["updatedAt"] is not None
    assert (await archive(live, made["id"]))["diagram"] == archived
    [error] = (await update(live, made["id"], 1, OTHER))["errors"]
    assert (error["code"], error["hint"]) == (
        "INVALID_STATE",
        "Create a new diagram from its content.",
    )
    found = (await live.data(WHOLE, id=made["id"]))["diagram"]
    assert found["head"]["content"] == STRAIGHT
    assert await names(live) == []
    assert await names(live, includeArchived=True) == ["plan"]


# --- looking ------------------------------------------------------------------------------------


async def test_a_diagram_is_found_by_its_name(live: Live) -> None:
    query = "query ($name: String!) { diagramByName(name: $name) { id } }"
    assert (await live.data(query, name="plan"))["diagramByName"] is None
    first, second = await created(live, STRAIGHT), await created(live, OTHER)
    assert (await live.data(query, name="plan"))["diagramByName"] == {"id": second["id"]}
    await archive(live, second["id"])
    assert (await live.data(query, name="plan"))["diagramByName"] == {"id": first["id"]}


async def test_diagrams_and_revisions_are_nodes(live: Live) -> None:
    made = await created(live, STRAIGHT)
    query = """query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id
      ... on Diagram { name } ... on DiagramRevision { number diagram { id } } } }"""
    revision = made["head"]["id"]
    ids = [made["id"], revision, "diagram_no", revision.replace("revision_", "barrier_")]
    found = (await live.data(query, ids=ids))["nodes"]
    assert found == [
        {"__typename": "Diagram", "id": made["id"], "name": "plan"},
        {
            "__typename": "DiagramRevision",
            "id": revision,
            "number": 1,
            "diagram": {"id": made["id"]},
        },
        None,
        None,
    ]


@pytest.mark.parametrize("number", [-1, 0, 2, 2**31, 2**63, 10**30])
async def test_an_id_that_somebody_made_up_is_of_nothing(live: Live, number: int) -> None:
    made = await created(live, STRAIGHT)
    id_ = PartID(Kind.REVISION, DiagramID(made["id"]), occurrence=number).encode()
    query = "query ($id: ID!) { node(id: $id) { id } }"
    assert await live.data(query, id=id_) == {"node": None}
    [error] = (await run(live, revisionId=id_))["errors"]
    assert error["code"] == "NOT_FOUND"


async def test_lists_are_paged_in_both_directions(live: Live) -> None:
    for name in "abcde":
        await created(live, STRAIGHT, name=name)
    page = (await live.data(LIST, first=2))["diagrams"]
    assert ([each["name"] for each in page["nodes"]], page["totalCount"]) == (["e", "d"], 5)
    info = page["pageInfo"]
    assert (info["hasNextPage"], info["hasPreviousPage"]) == (True, False)
    assert [info["startCursor"], info["endCursor"]] == [each["cursor"] for each in page["edges"]]
    page = (await live.data(LIST, first=2, after=info["endCursor"]))["diagrams"]
    assert [each["name"] for each in page["nodes"]] == ["c", "b"]
    page = (await live.data(LIST, last=2, before=page["edges"][0]["cursor"]))["diagrams"]
    assert [each["name"] for each in page["nodes"]] == ["e", "d"]
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (True, False)


async def test_lists_are_filtered_by_a_part_of_the_name(live: Live) -> None:
    for name in ("Alpha", "beta", "ALPHABET"):
        await created(live, STRAIGHT, name=name)
    assert await names(live, nameContains="alpha") == ["ALPHABET", "Alpha"]
    assert await names(live, nameContains="bet") == ["ALPHABET", "beta"]


@pytest.mark.parametrize("cursor", ["", "x", "ZXhlY3V0aW9uOng=", "ZGlhZ3JhbTp4"])
async def test_a_cursor_of_another_list_is_refused(live: Live, cursor: str) -> None:
    answer = await live.answer(LIST, after=cursor)
    assert answer["errors"][0]["extensions"]["code"] == "INVALID"
    assert answer["errors"][0]["extensions"]["field"] == ["after"]


async def test_revisions_are_paged(live: Live) -> None:
    made = await created(live, STRAIGHT)
    for number in range(1, 5):
        await update(live, made["id"], number, f"{STRAIGHT}\n# {number}")
    query = """query ($id: ID!, $after: String) { diagram(id: $id) {
      revisions(first: 2, after: $after) { nodes { number } totalCount
        pageInfo { hasNextPage hasPreviousPage endCursor } } } }"""
    seen: list[int] = []
    after: str | None = None
    while True:
        page = (await live.data(query, id=made["id"], after=after))["diagram"]["revisions"]
        assert page["pageInfo"]["hasPreviousPage"] == bool(seen)
        seen += [node["number"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert (seen, page["totalCount"]) == ([5, 4, 3, 2, 1], 5)
    for cursor in ("x", "cmV2aXNpb246eA==", "cmV2aXNpb246OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
        answer = await live.answer(query, id=made["id"], after=cursor)
        assert answer["errors"][0]["extensions"]["code"] == "INVALID"


# --- the life of the server ---------------------------------------------------------------------


async def test_diagrams_outlive_the_server(base_dir: Path) -> None:
    async with serving(base_dir, store=str(base_dir / "store.db")) as live:
        made = (await create(live, COMMENTED, key="k"))["diagram"]
        changed = (await update(live, made["id"], 1, OTHER))["diagram"]
        gone = await created(live, STRAIGHT, name="gone")
        await archive(live, gone["id"])
    async with serving(base_dir, store=str(base_dir / "store.db")) as live:
        found = (await live.data(WHOLE, id=made["id"]))["diagram"]
        assert found["head"]["content"] == OTHER
        assert found["head"]["id"] == changed["head"]["id"]
        assert await names(live) == ["plan"]
        assert await names(live, includeArchived=True) == ["gone", "plan"]
        again = await create(live, COMMENTED, key="k")
        assert (again["errors"], again["revision"]["number"]) == ([], 1)
        assert again["diagram"]["id"] == made["id"]
