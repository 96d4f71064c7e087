"""Runs of stored diagrams: which diagram and revision they know they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.keeping import archive, created, run, started, update
from tests.api.serving import ASKING, RUN, STRAIGHT, Live, light, serving

OTHER = light("begin -> end", begin="start", end="endpoint")
RUNS = """query ($id: ID!) { execution(id: $id) { status diagram { id name } revision {
  id number createdAt content(format: LIGHT) diagram { id } nodes { key } } } }"""
LIST = """query ($filter: ExecutionFilter) { executions(filter: $filter) { totalCount
  nodes { id diagram { id } } } }"""
EVENTS = """subscription ($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) { __typename
    ... on ExecutionEvent { sequence } ... on ExecutionStarted { revisionNumber contentHash }
    ... on NodeStarted { ranWith: revisionNumber } } }"""


async def told(live: Live, id_: str, after: str | None = None) -> list[dict[str, Any]]:
    async with live.socket() as socket:
        return await socket.items(EVENTS, id=id_, after=after)


async def listed(live: Live, **chosen: Any) -> list[str]:
    page = (await live.data(LIST, filter=chosen))["executions"]
    assert page["totalCount"] == len(page["nodes"])
    return [each["id"] for each in page["nodes"]]


async def test_the_newest_revision_runs(live: Live) -> None:
    made = await created(live, STRAIGHT)
    changed = (await update(live, made["id"], 1, OTHER))["diagram"]
    id_ = await started(live, diagramId=made["id"])
    events = await told(live, id_)
    assert events[0]["revisionNumber"] == 2
    assert events[0]["contentHash"] == changed["head"]["contentHash"]
    assert {each["ranWith"] for each in events if "ranWith" in each} == {2}
    found = (await live.data(RUNS, id=id_))["execution"]
    assert (found["status"], found["diagram"]) == ("COMPLETED", {"id": made["id"], "name": "plan"})
    assert found["revision"] == {
        "id": changed["head"]["id"],
        "number": 2,
        "createdAt": changed["head"]["createdAt"],
        "content": OTHER,
        "diagram": {"id": made["id"]},
        "nodes": [{"key": "begin"}, {"key": "end"}],
    }


async def test_an_older_revision_runs_where_it_is_named(live: Live) -> None:
    made = await created(live, STRAIGHT)
    await update(live, made["id"], 1, OTHER)
    id_ = await started(live, revisionId=made["head"]["id"])
    events = await told(live, id_)
    revision = (await live.data(RUNS, id=id_))["execution"]["revision"]
    assert (revision["number"], revision["content"]) == (1, STRAIGHT)
    later = [each for each in events if int(each["sequence"]) > 2]
    assert await told(live, id_, after="2") == later
    query = "query ($id: ID!) { execution(id: $id) { nodeStates { runs { revisionNumber } } } }"
    nodes = (await live.data(query, id=id_))["execution"]["nodeStates"]
    assert [node["runs"] for node in nodes] == [[{"revisionNumber": 1}]] * 3


async def test_an_inline_run_has_no_diagram_and_can_be_run_again(live: Live) -> None:
    id_ = await live.ended(STRAIGHT)
    found = (await live.data(RUNS, id=id_))["execution"]
    assert (found["diagram"], found["revision"]["number"]) == (None, 0)
    assert found["revision"]["diagram"] is None
    again = await started(live, revisionId=found["revision"]["id"])
    assert {each.get("ranWith", 0) for each in await told(live, again)} == {0}
    repeated = (await live.data(RUNS, id=again))["execution"]
    assert (repeated["status"], repeated["diagram"]) == ("COMPLETED", None)


async def test_a_diagram_kept_as_nodes_runs(live: Live) -> None:
    nodes = [{"key": "a", "type": "START"}, {"key": "b", "type": "DELAY", "props": {"seconds": 0}}]
    edges = [{"source": "a", "target": "b"}]
    given = {"name": "drawn", "nodes": nodes, "edges": edges}
    mutation = """mutation ($i: DiagramInput!) { createDiagram(input: $i) { diagram { id } } }"""
    made = (await live.data(mutation, i=given))["createDiagram"]["diagram"]
    id_ = await started(live, diagramId=made["id"])
    await live.follow(id_)
    found = (await live.data(RUNS, id=id_))["execution"]
    assert (found["status"], found["revision"]["number"]) == ("COMPLETED", 1)


async def test_runs_are_listed_by_their_diagram(live: Live) -> None:
    first, second = await created(live, STRAIGHT), await created(live, OTHER)
    runs = [await started(live, diagramId=first["id"]) for _ in range(2)]
    await update(live, first["id"], 1, OTHER)
    runs.append(await started(live, diagramId=first["id"]))
    other = await started(live, diagramId=second["id"])
    inline = await live.started(STRAIGHT)
    for each in (*runs, other, inline):
        await live.follow(each)
    assert await listed(live, diagramId=first["id"]) == runs[::-1]
    assert await listed(live, diagramId=second["id"]) == [other]
    assert await listed(live, diagramId="diagram_no") == []
    assert len(await listed(live)) == 5
    query = """query ($id: ID!, $after: String, $filter: ExecutionFilter) { diagram(id: $id) {
      executions(first: 2, after: $after, filter: $filter) { totalCount nodes { id }
        pageInfo { endCursor hasNextPage } } } }"""
    page = (await live.data(query, id=first["id"]))["diagram"]["executions"]
    assert [each["id"] for each in page["nodes"]] == runs[:0:-1]
    after = page["pageInfo"]["endCursor"]
    rest = (await live.data(query, id=first["id"], after=after))["diagram"]["executions"]
    assert ([each["id"] for each in rest["nodes"]], rest["totalCount"]) == (runs[:1], 3)
    for chosen in ({"isActive": True}, {"diagramId": second["id"]}):
        page = (await live.data(query, id=first["id"], filter=chosen))["diagram"]["executions"]
        assert (page["nodes"], page["totalCount"]) == ([], 0)


async def test_an_archived_diagram_cannot_be_started_and_its_runs_stay(live: Live) -> None:
    made = await created(live, STRAIGHT)
    before = await run(live, diagramId=made["id"], key="k")
    await live.follow(before["execution"]["id"])
    await archive(live, made["id"])
    for source in ({"diagramId": made["id"]}, {"revisionId": made["head"]["id"]}):
        [error] = (await run(live, **source))["errors"]
        assert error["code"] == "INVALID_STATE"
    found = (await live.data(RUNS, id=before["execution"]["id"]))["execution"]
    assert (found["status"], found["diagram"]["id"]) == ("COMPLETED", made["id"])
    again = await run(live, diagramId=made["id"], key="k")
    assert again["execution"]["id"] == before["execution"]["id"]
    assert await listed(live, diagramId=made["id"]) == [before["execution"]["id"]]


async def test_a_key_stands_for_its_run_when_the_diagram_has_moved_on(live: Live) -> None:
    made = await created(live, STRAIGHT)
    first = await run(live, diagramId=made["id"], key="k")
    await update(live, made["id"], 1, OTHER)
    again = await run(live, diagramId=made["id"], key="k")
    assert again["execution"]["id"] == first["execution"]["id"]
    [error] = (await run(live, revisionId=made["head"]["id"], key="k"))["errors"]
    assert error["code"] == "IDEMPOTENCY_MISMATCH"


@pytest.mark.parametrize(
    "source",
    [
        {"diagramId": "diagram_no"},
        {"diagramId": "exec_no"},
        {"revisionId": "revision_no"},
        {"revisionId": "revision_ZGlhZ3JhbV94ADEA"},
    ],
)
async def test_what_was_never_kept_cannot_run(live: Live, source: dict[str, str]) -> None:
    [error] = (await run(live, **source))["errors"]
    assert (error["__typename"], error["code"]) == ("NotFound", "NOT_FOUND")


async def test_an_empty_source_is_an_input_problem(live: Live) -> None:
    wish = {"source": {"diagramId": ""}}
    [error] = (await live.data(RUN, input=wish))["runDiagram"]["errors"]
    assert (error["code"], error["field"]) == ("INVALID", ["input", "source"])


async def test_a_run_knows_its_diagram_after_a_restart(base_dir: Path) -> None:
    async with serving(base_dir, store=str(base_dir / "store.db")) as live:
        made = await created(live, ASKING)
        ended = await started(live, diagramId=(await created(live, STRAIGHT))["id"])
        await live.follow(ended)
        waiting = await started(live, diagramId=made["id"])
        query = "query ($id: ID!) { waitingBarriers(executionId: $id) { id } }"
        while not (found := (await live.data(query, id=waiting))["waitingBarriers"]):
            pass
    async with serving(base_dir, store=str(base_dir / "store.db")) as live:
        assert await listed(live, diagramId=made["id"], isActive=True) == [waiting]
        await update(live, made["id"], 1, OTHER)
        approve = "mutation ($id: ID!) { approveBarrier(id: $id) { errors { code } } }"
        await live.data(approve, id=found[0]["id"])
        events = await told(live, waiting)
        assert events[-1]["__typename"] == "ExecutionCompleted"
        assert {each["ranWith"] for each in events if "ranWith" in each} == {1}
        run_ = (await live.data(RUNS, id=waiting))["execution"]
        assert (run_["diagram"]["id"], run_["revision"]["number"]) == (made["id"], 1)
        assert run_["revision"]["content"] == ASKING
    async with serving(base_dir, store=str(base_dir / "store.db")) as live:
        assert (await live.data(RUNS, id=waiting))["execution"] == run_
