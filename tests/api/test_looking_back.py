"""Earlier states, merged history, execution and dependency graphs, asked of a real server."""

from __future__ import annotations

import base64
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.api.context import ApiLimits
from tests.api.serving import ASKING, STRAIGHT, Live, light, serving
from tests.api.test_queries import wait_for_barrier
from tests.drawing import needs_dot, objects

STATE = """
fragment Whole on ExecutionState {
  status isActive endedAt duration lastSequence availableActions variables
  nodeStates { nodeKey status occurrence output { body } runs { status } }
  nodeOutputs { producedBy body }
  barriers { status nodeKey }
}
query ($id: ID!, $at: Sequence!) { execution(id: $id) { stateAt(sequence: $at) { id ...Whole } } }
"""
HISTORY = """query ($id: ID!, $upTo: Sequence) { execution(id: $id) {
  mergedHistory(upTo: $upTo) { key name value sequence nodeKey conflict isDeleted isTruncated }
} }"""
GRAPH = """query ($id: ID!, $after: Sequence, $upTo: Sequence) { execution(id: $id) {
  executionGraph(after: $after, upTo: $upTo) {
    states { id executionId sequence nodeKey summary } edges { from to }
  }
} }"""


async def state_at(live: Live, run: str, at: int) -> dict[str, Any]:
    found: dict[str, Any] = (await live.data(STATE, id=run, at=at))["execution"]["stateAt"]
    return found


async def last_of(live: Live, run: str) -> int:
    query = "query ($id: ID!) { execution(id: $id) { lastSequence } }"
    return int((await live.data(query, id=run))["execution"]["lastSequence"])


async def test_000_07_there_is_a_state_for_every_event(live: Live) -> None:
    run = await live.ended(STRAIGHT, variables={"a": 1})
    last = await last_of(live, run)
    states = [await state_at(live, run, at) for at in range(1, last + 1)]
    assert [int(state["lastSequence"]) for state in states] == list(range(1, last + 1))
    assert {state["id"] for state in states} == {run}
    first = states[0]
    assert (first["status"], first["isActive"], first["endedAt"]) == ("STARTED", True, None)
    assert first["nodeOutputs"] == []
    assert [node["status"] for node in first["nodeStates"]] == ["PENDING"] * 3
    assert states[-1]["status"] == "COMPLETED"
    assert [node["status"] for node in states[-1]["nodeStates"]] == ["COMPLETED"] * 3
    # Nothing that once had a result loses it.
    counts = [len(state["nodeOutputs"]) for state in states]
    assert counts == sorted(counts)


async def test_the_newest_state_is_that_of_the_run(live: Live) -> None:
    run = await live.started(ASKING)
    await wait_for_barrier(live, run)
    query = STATE.replace("{ stateAt(sequence: $at) { id ...Whole } }", "{ id ...Whole }")
    now = (await live.data(query.replace(", $at: Sequence!", ""), id=run))["execution"]
    then = await state_at(live, run, int(now["lastSequence"]))
    assert now.pop("availableActions") != then.pop("availableActions")
    assert then == now
    assert then["barriers"] == [{"status": "WAITING", "nodeKey": "gate"}]


async def test_an_earlier_state_can_only_be_forked(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    last = await last_of(live, run)
    assert (await state_at(live, run, last - 1))["availableActions"] == ["FORK"]
    assert (await state_at(live, run, last))["availableActions"] == []


@pytest.mark.parametrize("at", [0, -1, 999])
async def test_000_w2_what_is_no_sequence_is_refused_with_the_range(live: Live, at: int) -> None:
    run = await live.ended(STRAIGHT)
    answer = await live.answer(STATE, id=run, at=at)
    (error,) = answer["errors"]
    last = await last_of(live, run)
    if at >= 0:
        assert error["extensions"]["code"] == "INVALID"
        assert f"{at}" in error["message"]
        assert error["message"].endswith(f"its log has events 1 to {last}.")


async def test_an_earlier_state_tells_nothing_of_what_came_after(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    query = """query ($id: ID!) { execution(id: $id) { stateAt(sequence: 4) {
      events(first: 1000) { nodes { sequence } pageInfo { hasNextPage } }
      timeline { nodeKey } metrics { nodeRuns } render(format: MERMAID)
      mergedHistory { sequence }
      stateAt(sequence: 2) { lastSequence }
    } } }"""
    then = (await live.data(query, id=run))["execution"]["stateAt"]
    assert [int(event["sequence"]) for event in then["events"]["nodes"]] == [1, 2, 3, 4]
    assert then["events"]["pageInfo"]["hasNextPage"] is False
    assert then["metrics"]["nodeRuns"] == 1
    assert [entry["nodeKey"] for entry in then["timeline"]] == ["begin"]
    assert all(int(entry["sequence"]) <= 4 for entry in then["mergedHistory"])
    assert '"end<br/>endpoint<br/>○ PENDING"' in then["render"]
    assert then["stateAt"]["lastSequence"] == "2"


async def test_000_08_the_merged_history_tells_who_set_what(live: Live) -> None:
    run = await live.ended(STRAIGHT, variables={"begin": 1})
    found = (await live.data(HISTORY, id=run))["execution"]["mergedHistory"]
    assert [(each["key"], each["nodeKey"]) for each in found] == [
        ("variables.begin", None),
        ("outputs.begin", "begin"),
        ("outputs.work", "work"),
        ("outputs.end", "end"),
    ]
    assert found[0]["value"] == 1
    sequences = [int(each["sequence"]) for each in found]
    assert sequences == sorted(sequences)
    earlier = (await live.data(HISTORY, id=run, upTo=sequences[1]))["execution"]["mergedHistory"]
    assert earlier == found[:2]


async def test_000_08_the_history_beyond_the_log_is_refused(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    (error,) = (await live.answer(HISTORY, id=run, upTo=999))["errors"]
    assert error["extensions"]["code"] == "INVALID"


async def test_000_05_the_execution_graph_has_a_state_for_each_step(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    graph = (await live.data(GRAPH, id=run))["execution"]["executionGraph"]
    summaries = [state["summary"] for state in graph["states"]]
    assert summaries == [
        "started",
        "begin completed",
        "work completed",
        "end completed",
        "COMPLETED",
    ]
    ids = [state["id"] for state in graph["states"]]
    assert [(edge["from"], edge["to"]) for edge in graph["edges"]] == list(pairwise(ids))
    assert ids[0] == f"{run}@1"


async def test_a_part_of_the_execution_graph_can_be_asked_for(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    whole = (await live.data(GRAPH, id=run))["execution"]["executionGraph"]["states"]
    second = int(whole[1]["sequence"])
    part = (await live.data(GRAPH, id=run, after=1, upTo=second))["execution"]["executionGraph"]
    assert part["states"] == [whole[1]]
    assert part["edges"] == []


@needs_dot
async def test_000_06_the_execution_graph_is_drawn(live: Live) -> None:
    run = await live.ended(STRAIGHT)
    query = """query ($id: ID!, $to: RenderFormat!) {
      execution(id: $id) { executionGraph { render(format: $to) } } }"""
    drawn = {
        to: (await live.data(query, id=run, to=to))["execution"]["executionGraph"]["render"]
        for to in ("DOT", "MERMAID", "SVG", "PNG")
    }
    nodes, edges = objects(drawn["DOT"])
    assert (len(edges), len([node for node in nodes if node["name"].startswith("n")])) == (4, 5)
    assert "✓ begin completed" in drawn["MERMAID"]
    assert drawn["SVG"].startswith("<svg")
    assert base64.b64decode(drawn["PNG"]).startswith(b"\x89PNG")


async def test_000_25_the_dependency_graph_names_what_a_node_rests_on(live: Live) -> None:
    run = await live.ended(light("a -> b -> c", "a -> c", a="start", b="transform", c="endpoint"))
    query = """query ($id: ID!) { execution(id: $id) {
      direct: dependencyGraph { node dependsOn via }
      flat: dependencyGraph(flattened: true) { node dependsOn via }
    } }"""
    found = (await live.data(query, id=run))["execution"]
    assert {(each["node"], each["dependsOn"]) for each in found["direct"]} == {
        ("b", "a"),
        ("c", "a"),
        ("c", "b"),
    }
    assert found["direct"][0]["via"] == ["default"]
    assert found["flat"] == found["direct"]


async def test_one_operation_may_look_back_so_far_and_no_further(base_dir: Path) -> None:
    async with serving(base_dir, limits=ApiLimits(past_events=10)) as live:
        run = await live.ended(STRAIGHT)
        last = await last_of(live, run)
        await state_at(live, run, last)
        two = """query ($id: ID!, $at: Sequence!) { execution(id: $id) {
          a: stateAt(sequence: $at) { status } b: stateAt(sequence: $at) { status } } }"""
        answer = await live.answer(two, id=run, at=last)
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "LIMIT_EXCEEDED"


FORK = """mutation ($id: ID!, $at: Sequence!, $overrides: ForkOverrides) {
  forkExecution(id: $id, atSequence: $at, overrides: $overrides) {
    execution { id } errors { message }
  }
}"""


async def forked(live: Live, run: str, at: int, **overrides: Any) -> str:
    payload = (await live.data(FORK, id=run, at=at, overrides=overrides))["forkExecution"]
    assert payload["errors"] == []
    fork: str = payload["execution"]["id"]
    await live.follow(fork)
    return fork


async def test_000_11_forks_are_branches_of_the_execution_graph(live: Live) -> None:
    run = await live.ended(STRAIGHT, variables={"a": 1})
    fork = await forked(live, run, 5, variables={"a": 2})
    again = await forked(live, fork, 7)
    graphs = [
        (await live.data(GRAPH, id=each))["execution"]["executionGraph"]
        for each in (run, fork, again)
    ]
    assert graphs[0] == graphs[1] == graphs[2]
    edges = {(edge["from"], edge["to"]) for edge in graphs[0]["edges"]}
    assert (f"{run}@5", f"{fork}@6") in edges
    assert (f"{fork}@7", f"{again}@8") in edges
    ids = [state["id"] for state in graphs[0]["states"]]
    assert len(ids) == len(set(ids))
    assert {state["executionId"] for state in graphs[0]["states"]} == {run, fork, again}


async def test_a_fork_has_a_state_at_every_event_that_it_shares(live: Live) -> None:
    run = await live.ended(STRAIGHT, variables={"a": 1})
    fork = await forked(live, run, 5, variables={"a": 2})
    for at in range(1, 6):
        theirs, ours = await state_at(live, run, at), await state_at(live, fork, at)
        assert ours.pop("id") == fork
        assert theirs.pop("id") == run
        assert ours == theirs
    last = await last_of(live, fork)
    assert (await state_at(live, fork, last))["variables"] == {"a": 2}


async def test_000_08_the_history_of_a_fork_goes_on_from_its_origins(live: Live) -> None:
    run = await live.ended(STRAIGHT, variables={"a": 1})
    fork = await forked(live, run, 5, variables={"a": 2})
    found = []
    for each in (run, fork):
        history = (await live.data(HISTORY, id=each))["execution"]["mergedHistory"]
        found.append({entry["key"]: (entry["value"], int(entry["sequence"])) for entry in history})
    theirs, ours = found
    assert theirs["variables.a"] == (1, 1)
    assert ours["variables.a"][0] == 2
    assert ours["variables.a"][1] > 5
    assert ours["outputs.begin"] == theirs["outputs.begin"]


@pytest.mark.parametrize(
    "limits, told",
    [
        (ApiLimits(graph_states=3), "too many states"),
        (ApiLimits(graph_runs=1), "more than 1 runs"),
    ],
)
async def test_an_execution_graph_that_is_too_large_says_how_to_get_a_part(
    base_dir: Path, limits: ApiLimits, told: str
) -> None:
    async with serving(base_dir, limits=limits) as live:
        run = await live.ended(STRAIGHT)
        await forked(live, run, 5)
        (error,) = (await live.answer(GRAPH, id=run))["errors"]
        assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
        assert told in error["message"]
        if limits.graph_states == 3:
            part = await live.data(GRAPH, id=run, upTo=4)
            assert len(part["execution"]["executionGraph"]["states"]) == 2
