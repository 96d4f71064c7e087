"""Queries, asked of a real server."""

import json
from typing import Any

import pytest

from tests.api.serving import ASKING, RUN, STRAIGHT, Live, light


async def test_an_execution_tells_everything_about_itself(live: Live) -> None:
    id_ = await live.ended(STRAIGHT, variables={"a": 1})
    found = (
        await live.data(
            """query ($id: ID!) { execution(id: $id) {
              id status isActive startedAt endedAt duration variables lastSequence
              availableActions diagram { id } error { code } tokenUsage { total }
              nodeStates { nodeKey status occurrence attempt skipReason output { body } }
              nodeOutputs { producedBy occurrence contentType hasError isTruncated sizeBytes }
            } }""",
            id=id_,
        )
    )["execution"]
    assert found["id"] == id_
    assert found["status"] == "COMPLETED"
    assert found["isActive"] is False
    assert found["duration"].startswith("PT")
    assert found["startedAt"].endswith("Z")
    assert found["variables"] == {"a": 1}
    assert found["lastSequence"].isdigit()
    assert found["availableActions"] == ["FORK"]
    assert found["diagram"] is None
    assert found["error"] is None
    assert [state["nodeKey"] for state in found["nodeStates"]] == ["begin", "work", "end"]
    assert {state["status"] for state in found["nodeStates"]} == {"COMPLETED"}
    assert found["nodeOutputs"][0] == {
        "producedBy": "begin",
        "occurrence": 1,
        "contentType": "OBJECT",
        "hasError": False,
        "isTruncated": False,
        "sizeBytes": 7,
    }


async def test_the_parts_of_a_run_are_found_again_by_their_ids(live: Live) -> None:
    run = await live.started(ASKING)
    await wait_for_barrier(live, run)
    found = (
        await live.data(
            """query ($id: ID!) { execution(id: $id) {
              id revision { id } barriers { id } output(nodeKey: "begin") { id }
            } }""",
            id=run,
        )
    )["execution"]
    [gate] = found["barriers"]
    ids = [found["id"], found["revision"]["id"], found["output"]["id"], gate["id"], "nope"]
    answer = await live.data("query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", ids=ids)
    assert answer["nodes"] == [
        {"__typename": "ExecutionState", "id": ids[0]},
        {"__typename": "DiagramRevision", "id": ids[1]},
        {"__typename": "Envelope", "id": ids[2]},
        {"__typename": "Barrier", "id": ids[3]},
        None,
    ]
    one = await live.data("query ($id: ID!) { node(id: $id) { id } }", id=ids[3])
    assert one["node"] == {"id": ids[3]}


async def wait_for_barrier(live: Live, run: str) -> dict[str, Any]:
    """Follow the run until somebody is asked."""
    async with live.socket() as socket:
        query = """subscription ($id: ID!) { executionEvents(executionId: $id) {
            __typename ... on BarrierWaiting { barrierId prompt nodeKey } } }"""
        id_ = await socket.subscribe(query, id=run)
        while (item := await socket.next(id_))["__typename"] != "BarrierWaiting":
            pass
        return item


@pytest.mark.parametrize("id_", ["exec_0_nope", "", "barrier_x", "envelope_ZXhlYwAxAGE"])
async def test_what_does_not_exist_is_null(live: Live, id_: str) -> None:
    query = """query ($id: ID!) {
      node(id: $id) { id } execution(id: $id) { id } barrier(id: $id) { id } }"""
    assert await live.data(query, id=id_) == {"node": None, "execution": None, "barrier": None}


async def test_a_node_state_tells_its_runs_and_where_its_inputs_came_from(live: Live) -> None:
    run = await live.ended(STRAIGHT, variables={"a": 1})
    query = """query ($id: ID!) { execution(id: $id) {
      nodeState(nodeKey: "work") {
        runs { occurrence attempt status revisionNumber output { body } error { code } }
        inputs { name value edgeKey producedBy occurrence transforms }
        never: inputs(occurrence: 7) { name }
        node { type typeName incoming { key source { key } } outgoing { target { key } } }
      }
      missing: nodeState(nodeKey: "nope") { nodeKey }
      output(nodeKey: "work", occurrence: 1) { body }
      later: output(nodeKey: "work", occurrence: 2) { body }
      nodeStates(statuses: [FAILED]) { nodeKey }
    } }"""
    found = (await live.data(query, id=run))["execution"]
    assert found["nodeState"]["runs"] == [
        {
            "occurrence": 1,
            "attempt": 1,
            "status": "COMPLETED",
            "revisionNumber": 0,
            "output": {"body": {"a": 1}},
            "error": None,
        }
    ]
    assert found["nodeState"]["inputs"] == [
        {
            "name": "default",
            "value": {"a": 1},
            "edgeKey": "arrow_0",
            "producedBy": "begin",
            "occurrence": 1,
            "transforms": [],
        }
    ]
    assert found["nodeState"]["never"] == []
    assert found["nodeState"]["node"] == {
        "type": "TRANSFORM",
        "typeName": "transform",
        "incoming": [{"key": "arrow_0", "source": {"key": "begin"}}],
        "outgoing": [{"target": {"key": "end"}}],
    }
    assert found["missing"] is None
    assert found["output"] == {"body": {"a": 1}}
    assert found["later"] is None
    assert found["nodeStates"] == []


async def test_a_run_shows_its_diagram_as_a_revision(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    query = """query ($id: ID!) { execution(id: $id) { revision {
      number contentHash createdAt problems { code } persons { key }
      nodes { key label join fanOut props position { x y } } node(key: "end") { key }
      edges { key kind sourceHandle targetHandle priority } content(format: LIGHT)
    } } }"""
    found = (await live.data(query, id=run))["execution"]["revision"]
    assert found["number"] == 0
    assert [node["key"] for node in found["nodes"]] == ["begin", "work", "end"]
    assert found["node"] == {"key": "end"}
    assert {edge["kind"] for edge in found["edges"]} == {"ALWAYS"}
    again = await live.ended(found["content"])
    second = (await live.data(query, id=again))["execution"]["revision"]
    assert second["contentHash"] == found["contentHash"]


@pytest.mark.parametrize("format_", ["NATIVE", "READABLE"])
async def test_what_ran_can_be_had_in_another_format_and_run_again(
    live: Live, format_: str
) -> None:
    run = await live.ended(STRAIGHT)
    query = """query ($id: ID!, $format: DiagramFormat!) { execution(id: $id) {
      revision { contentHash content(format: $format) } } }"""
    ran = (await live.data(query, id=run, format=format_))["execution"]["revision"]
    inline = {"name": "again", "content": ran["content"]}
    payload = (await live.data(RUN, input={"source": {"inline": inline}}))["runDiagram"]
    assert payload["errors"] == []
    again = payload["execution"]["id"]
    await live.follow(again)
    found = (await live.data(query, id=again, format=format_))["execution"]["revision"]
    assert found["contentHash"] == ran["contentHash"]


async def test_figures_and_timeline_come_from_the_log(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    query = """query ($id: ID!) { execution(id: $id) {
      metrics { nodeRuns succeeded failed skipped retried maxParallelism busy wait criticalPath
                path tokenUsage { input output cached total } }
      timeline { nodeKey occurrence attempt readyAt startedAt endedAt status }
    } }"""
    found = (await live.data(query, id=run))["execution"]
    assert found["metrics"]["nodeRuns"] == found["metrics"]["succeeded"] == 3
    assert found["metrics"]["criticalPath"] == found["metrics"]["path"] == ["begin", "work", "end"]
    assert [entry["nodeKey"] for entry in found["timeline"]] == ["begin", "work", "end"]
    times = [
        entry[key] for entry in found["timeline"] for key in ("readyAt", "startedAt", "endedAt")
    ]
    assert times == sorted(times)


async def test_the_log_comes_in_pages(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    query = """query ($id: ID!, $first: Int, $after: Sequence) { execution(id: $id) {
      events(first: $first, after: $after) {
        nodes { __typename sequence ... on NodeCompleted { duration } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } } }"""
    whole = (await live.data(query, id=run))["execution"]["events"]["nodes"]
    paged: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = (await live.data(query, id=run, first=2, after=after))["execution"]["events"]
        paged.extend(page["nodes"])
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        assert page["pageInfo"]["endCursor"] == page["nodes"][-1]["sequence"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert paged == whole
    assert [event["sequence"] for event in paged] == [str(n + 1) for n in range(len(paged))]
    empty = (await live.data(query, id=run, after=after))["execution"]["events"]
    assert empty["nodes"] == []
    assert empty["pageInfo"] == {
        "hasNextPage": False,
        "hasPreviousPage": True,
        "startCursor": None,
        "endCursor": None,
    }


@pytest.mark.parametrize("first", [0, -1, 1001])
async def test_a_page_of_an_impossible_size_is_refused(live: Live, first: int) -> None:
    run = await live.ended(STRAIGHT)
    query = """query ($id: ID!, $first: Int) {
      execution(id: $id) { events(first: $first) { nodes { sequence } } } }"""
    answer = await live.answer(query, id=run, first=first)
    assert answer["errors"][0]["extensions"]["field"] == ["first"]


async def test_lines_that_nodes_print_come_in_pages(live: Live) -> None:
    code = "for n in range(5): print('line', n)"
    run = await live.ended(
        light("begin -> job", begin="start", job=f'code_job, language: python, code: "{code}"')
    )
    query = """query ($id: ID!, $after: String, $node: String) { execution(id: $id) {
      logs(first: 3, after: $after, nodeKey: $node) {
        nodes { cursor nodeKey occurrence attempt stream level text timestamp }
        pageInfo { hasNextPage endCursor } } } }"""
    first = (await live.data(query, id=run))["execution"]["logs"]
    assert [line["text"] for line in first["nodes"]] == ["line 0", "line 1", "line 2"]
    assert first["pageInfo"]["hasNextPage"] is True
    assert first["nodes"][0]["stream"] == "stdout"
    after = first["pageInfo"]["endCursor"]
    rest = (await live.data(query, id=run, after=after, node="job"))["execution"]["logs"]
    assert [line["text"] for line in rest["nodes"]] == ["line 3", "line 4"]
    other = (await live.data(query, id=run, node="begin"))["execution"]["logs"]
    assert other["nodes"] == []
    answer = await live.answer(query, id=run, after="x")
    assert answer["errors"][0]["extensions"]["field"] == ["after"]


async def test_runs_are_listed_newest_first_a_page_at_a_time(live: Live) -> None:
    runs = [await live.ended(STRAIGHT) for _ in range(5)]
    query = """query ($first: Int, $after: String, $last: Int, $before: String) {
      executions(first: $first, after: $after, last: $last, before: $before) {
        totalCount nodes { id status lastSequence } edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
    first = (await live.data(query, first=2))["executions"]
    assert first["totalCount"] == 5
    assert [node["id"] for node in first["nodes"]] == runs[:2:-1]
    assert [edge["node"]["id"] for edge in first["edges"]] == runs[:2:-1]
    assert first["pageInfo"]["hasNextPage"] is True
    assert first["pageInfo"]["hasPreviousPage"] is False
    after = first["pageInfo"]["endCursor"]
    second = (await live.data(query, first=2, after=after))["executions"]
    assert [node["id"] for node in second["nodes"]] == [runs[2], runs[1]]
    back = (await live.data(query, last=2, before=second["pageInfo"]["startCursor"]))["executions"]
    assert [node["id"] for node in back["nodes"]] == [runs[4], runs[3]]
    for wrong in ({"first": 101}, {"after": "x"}, {"after": after, "last": 1}):
        assert "errors" in await live.answer(query, **wrong)


async def test_a_list_can_be_filtered(live: Live) -> None:
    done = await live.ended(STRAIGHT)
    asking = await live.started(ASKING)
    await wait_for_barrier(live, asking)
    query = """query ($filter: ExecutionFilter) {
      executions(filter: $filter) { nodes { id } totalCount } }"""

    async def found(**filter_: Any) -> list[str]:
        page = (await live.data(query, filter=filter_))["executions"]
        return [node["id"] for node in page["nodes"]]

    assert await found() == [asking, done]
    assert await found(statuses=["COMPLETED"]) == [done]
    assert await found(isActive=True) == [asking]
    assert await found(startedAfter="2999-01-01T00:00:00Z") == []
    assert await found(startedBefore="2999-01-01T00:00:00Z") == [asking, done]
    assert await found(parentId=done) == []


async def test_what_a_list_shows_of_a_run_is_what_the_run_shows_of_itself(live: Live) -> None:
    await live.ended(STRAIGHT)
    await wait_for_barrier(live, await live.started(ASKING))
    shallow = """id status isActive startedAt endedAt duration lastSequence availableActions
                 error { code } tokenUsage { total }"""
    rows = await live.data(f"{{ executions {{ nodes {{ {shallow} }} }} }}")
    views = await live.data(
        f"{{ executions {{ nodes {{ {shallow} nodeStates {{ nodeKey }} }} }} }}"
    )
    for row, view in zip(rows["executions"]["nodes"], views["executions"]["nodes"], strict=True):
        assert view.pop("nodeStates")
        assert row == view


async def test_waiting_barriers_are_found_over_all_runs(live: Live) -> None:
    runs = [await live.started(ASKING) for _ in range(2)]
    for run in runs:
        await wait_for_barrier(live, run)
    await live.ended(STRAIGHT)
    query = """query ($id: ID, $first: Int) { waitingBarriers(executionId: $id, first: $first) {
      nodeKey occurrence status prompt waitingSince defaultAction execution { id status } } }"""
    found = (await live.data(query))["waitingBarriers"]
    assert {each["execution"]["id"] for each in found} == set(runs)
    assert {each["status"] for each in found} == {"WAITING"}
    assert found[0]["prompt"] == "Go on?"
    assert found[0]["defaultAction"] == "REJECT"
    assert len((await live.data(query, id=runs[0]))["waitingBarriers"]) == 1
    assert len((await live.data(query, first=1))["waitingBarriers"]) == 1
    assert (await live.data(query, id="exec_0_nope"))["waitingBarriers"] == []


async def test_a_document_is_judged_without_being_run(live: Live) -> None:
    query = """query ($content: String!, $format: DiagramFormat) {
      validateDiagram(content: $content, format: $format) {
        isValid problems { severity code message hint nodeKey edgeKey line column }
        content(format: LIGHT) } }"""
    good = (await live.data(query, content=STRAIGHT))["validateDiagram"]
    assert good["isValid"] is True
    assert good["problems"] == []
    assert good["content"].startswith("version: light")
    typo = STRAIGHT.replace("transform", "transfrom")
    bad = (await live.data(query, content=typo, format="LIGHT"))["validateDiagram"]
    assert bad["isValid"] is False
    [problem] = bad["problems"]
    assert problem["code"] == "UNKNOWN_NODE_TYPE"
    assert problem["severity"] == "ERROR"
    assert problem["nodeKey"] == "work"
    assert (problem["line"], problem["column"]) == (4, 5)
    assert "transform" in problem["hint"]
    broken = (await live.data(query, content="nodes: ["))["validateDiagram"]
    assert broken["isValid"] is False
    assert broken["content"] is None
    page = await live.data("{ executions { totalCount } }")
    assert page["executions"]["totalCount"] == 0


async def test_a_long_document_is_judged_too(live: Live) -> None:
    steps = {f"step{n}": "transform" for n in range(300)}
    document = light("begin -> " + " -> ".join(steps), begin="start", **steps)
    query = "query ($content: String!) { validateDiagram(content: $content) { isValid } }"
    assert (await live.data(query, content=document))["validateDiagram"] == {"isValid": True}


async def test_the_server_tells_what_it_is(live: Live) -> None:
    query = "{ serverInfo { version schemaHash isolation limits store runner } }"
    found = (await live.data(query))["serverInfo"]
    assert found["version"] == live.services.facts.version
    assert found["store"] == "memory"
    assert found["runner"] == "local"
    assert found["limits"]["bodyBytes"] == 1024 * 1024
    assert found["limits"]["depth"] == 12
    assert len(found["schemaHash"]) == 32


async def test_every_node_type_can_be_offered_by_an_editor(live: Live) -> None:
    query = """{ nodeTypes { type label description category propsSchema inputs outputs
      afterCrash } }"""
    found = {each["type"]: each for each in (await live.data(query))["nodeTypes"]}
    assert len(found) == len(live.services.specs)
    assert found["START"]["inputs"] == []
    assert found["CONDITION"]["outputs"] == ["condtrue", "condfalse"]
    assert found["DELAY"]["propsSchema"]["properties"]["seconds"]["minimum"] == 0
    assert found["DELAY"]["afterCrash"] == "rerun"
    assert json.dumps(found)


async def test_the_schema_can_be_asked_for_itself(live: Live) -> None:
    found = await live.data('{ __type(name: "RunSource") { isOneOf inputFields { name } } }')
    names = [{"name": name} for name in ("diagramId", "revisionId", "inline")]
    assert found["__type"] == {"isOneOf": True, "inputFields": names}
