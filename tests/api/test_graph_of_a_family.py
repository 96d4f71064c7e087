"""Execution graphs of runs with sub-diagrams and branches, and of forks of these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.api.serving import Live, light
from tests.api.steering import done, ended, told
from tests.drawing import needs_dot, objects

GRAPH = """query ($id: ID!, $after: Sequence, $whole: Boolean!) { execution(id: $id) {
  executionGraph(after: $after, subDiagrams: $whole) {
    states { id executionId sequence nodeKey summary } edges { from to }
    groups { id kind executionId label parent states }
    render(format: DOT)
} } }"""
CHILDREN = """query ($id: ID!) { execution(id: $id) {
  children { nodes { id parent { id } } } } }"""
INNER = {
    "version": "light",
    "nodes": [{"label": "in", "type": "start"}, {"label": "out", "type": "endpoint"}],
    "connections": [{"from": "in", "to": "out"}],
}


async def graph(live: Live, run: str, *, whole: bool = True, after: int | None = None) -> Any:
    answer = await live.data(GRAPH, id=run, whole=whole, after=after)
    return answer["execution"]["executionGraph"]


async def children(live: Live, run: str) -> list[str]:
    found = (await live.data(CHILDREN, id=run))["execution"]["children"]["nodes"]
    return [each["id"] for each in found if each["parent"] == {"id": run}]


def check(found: Any) -> dict[str, Any]:
    """Edges join states, groups hold each state once and lie behind those around them."""
    states = {state["id"]: state for state in found["states"]}
    assert len(states) == len(found["states"])
    assert {end for edge in found["edges"] for end in edge.values()} <= set(states)
    held = [state for group in found["groups"] for state in group["states"]]
    assert len(held) == len(set(held))
    assert set(held) <= set(states)
    ids: list[str | None] = [None]
    for group in found["groups"]:
        assert group["parent"] in ids
        ids.append(group["id"])
    assert len(set(ids)) == len(ids)
    return states


@needs_dot
async def test_000_05_sub_diagrams_and_branches_are_groups(live: Live) -> None:
    inner = json.dumps(INNER)
    branches = json.dumps({key: {"diagram_data": INNER} for key in ("left", "right")})
    run = await live.ended(
        light(
            "begin -> one -> both -> end",
            begin="start",
            one=f"sub_diagram, props: {{diagram_data: {inner}}}",
            both=f"parallel, props: {{branches: {branches}}}",
            end="endpoint",
        )
    )
    found = await graph(live, run)
    states = check(found)
    kinds = [(group["kind"], group["label"]) for group in found["groups"]]
    assert sorted(kinds) == [
        ("BRANCH", "left"),
        ("BRANCH", "right"),
        ("PARALLEL", "both"),
        ("SUB_DIAGRAM", "one"),
    ]
    below = await children(live, run)
    assert {state["executionId"] for state in states.values()} == {run, *below}
    for child in below:
        [into] = [edge["from"] for edge in found["edges"] if edge["to"] == f"{child}@1"]
        assert states[into]["executionId"] == run
        assert states[into]["summary"] in {"one started", "both started"}
        [group] = [group for group in found["groups"] if group["id"] == child]
        summaries = [states[state]["summary"] for state in group["states"]]
        assert summaries == ["started", "in completed", "out completed", "COMPLETED"]
    nodes, _ = objects(found["render"])
    assert sum("↳" in node["label"] for node in nodes) == 3
    alone = await graph(live, run, whole=False)
    check(alone)
    assert alone["groups"] == []
    assert {state["executionId"] for state in alone["states"]} == {run}


async def test_a_part_has_the_sub_diagrams_whose_visits_begin_in_it(live: Live) -> None:
    inner = json.dumps(INNER)
    nodes = dict.fromkeys(("one", "two"), f"sub_diagram, props: {{diagram_data: {inner}}}")
    run = await live.ended(
        light("begin -> one -> two -> end", begin="start", end="endpoint", **nodes)
    )
    [first] = [
        int(state["sequence"])
        for state in (await graph(live, run))["states"]
        if state["summary"] == "one completed"
    ]
    found = await graph(live, run, after=first)
    check(found)
    assert [group["label"] for group in found["groups"]] == ["two"]


async def test_000_05_turns_of_loops_are_groups_also_in_a_part(live: Live) -> None:
    run = await live.ended(
        light(
            "begin -> work -> more",
            "more_condfalse -> end",
            begin="start",
            work="transform",
            more="condition, props: {condition_type: custom, expression: 'i < 2', "
            "expose_index_as: i}",
            end="endpoint",
        ).replace(
            "{from: more_condfalse, to: end}",
            '{from: "more[condfalse]", to: end}\n  - {from: "more[condtrue]", to: work}',
        ),
        variables={"i": 0},
    )
    whole = await graph(live, run, whole=False)
    check(whole)
    labels = [group["label"] for group in whole["groups"]]
    assert labels == [f"work, turn {number}" for number in range(1, len(labels) + 1)]
    assert len(labels) > 1
    begins = next(
        int(state["sequence"])
        for state in whole["states"]
        if state["id"] == whole["groups"][0]["states"][-1]
    )
    part = await graph(live, run, whole=False, after=begins)
    assert [group["label"] for group in part["groups"]] == labels[1:]


def with_a_child_that_waits(folder: Path) -> str:
    """A sub-diagram whose code waits for a file, beside a barrier."""
    name = json.dumps(str(folder / "go"))
    code = f"import os, time\nwhile not os.path.exists({name}): time.sleep(0.01)\nresult = 1"
    props = {"language": "python", "code": code}
    inner = {
        "version": "light",
        "nodes": [
            {"label": "in", "type": "start"},
            {"label": "slow", "type": "code_job", "props": props},
            {"label": "out", "type": "endpoint"},
        ],
        "connections": [{"from": "in", "to": "slow"}, {"from": "slow", "to": "out"}],
    }
    return light(
        "begin -> sub -> end",
        "begin -> beside -> end",
        begin="start",
        sub=f"sub_diagram, props: {{diagram_data: {json.dumps(inner)}}}",
        beside="barrier",
        end="endpoint",
    )


async def forked_with_its_child(live: Live, folder: Path) -> tuple[str, str, str, str]:
    """A run, its fork, and the child of each; all have completed."""
    run = await live.started(with_a_child_that_waits(folder))
    await told(live, run, "BarrierWaiting", nodeKey="beside")
    await told(live, run, "NodeStarted", nodeKey="sub")
    while not await children(live, run):
        pass
    [child] = await children(live, run)
    await told(live, child, "NodeStarted", nodeKey="slow")
    # The fork is made behind an event that is newer than those of the child.
    await done(live, "pauseExecution", id=run)
    last = int((await told(live, run, "ExecutionStatusChanged", to="PAUSED"))["sequence"])
    payload = await done(live, "forkExecution", id=run, atSequence=last)
    fork = payload["execution"]["id"]
    [again] = await children(live, fork)
    await done(live, "resumeExecution", id=run)
    (folder / "go").write_text("")
    for each in (run, fork):
        target = {"node": {"executionId": each, "nodeKey": "beside", "occurrence": 1}}
        await done(live, "decideBarrier", target=target, action="APPROVE")
        assert await ended(live, each) == "COMPLETED"
    return run, fork, child, again


async def test_forks_of_sub_diagrams_are_in_the_graph_of_the_family(
    live: Live, base_dir: Path
) -> None:
    """000-05, 000-11: a child that was running when its parent was forked."""
    run, fork, child, again = await forked_with_its_child(live, base_dir)
    graphs = [await graph(live, each) for each in (run, fork)]
    for found in graphs:
        states = check(found)
        assert {state["executionId"] for state in states.values()} == {run, fork, child, again}
        [into] = [
            edge["from"]
            for edge in found["edges"]
            if states[edge["to"]]["executionId"] == again
            and states[edge["from"]]["executionId"] != again
        ]
        assert states[into]["executionId"] == child
        out = {
            states[edge["from"]]["executionId"]: states[edge["to"]]["executionId"]
            for edge in found["edges"]
            if states[edge["to"]]["summary"] == "sub completed"
            and states[edge["from"]]["summary"] == "COMPLETED"
        }
        assert out == {child: run, again: fork}
        assert {group["id"] for group in found["groups"]} == {child, again}
    # The child's own graph has the fork too, though that is the child of another run.
    own = await graph(live, child, whole=False)
    check(own)
    assert {state["executionId"] for state in own["states"]} == {child, again}
