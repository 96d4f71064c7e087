"""A graph is changed over GraphQL while a node of it really runs: made, refused, resumed with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.api.keeping import created, update
from tests.api.keeping import started as run_of
from tests.api.serving import Live, light, serving
from tests.api.steering import all_told, done, ended, held, refused, standing, statuses, told
from tests.api.test_changing_graphs import edge, node, preview

RUNS = """query ($id: ID!) { execution(id: $id) {
  revision { number }
  nodeStates { nodeKey status runs { occurrence revisionNumber } }
  output(nodeKey: "end") { body }
} }"""


def slow_code(folder: Path) -> str:
    """A code_job that tells that it runs, and ends as soon as it may; gives 7."""
    begun, go = (json.dumps(str(folder / name)) for name in ("begun", "go"))
    code = (
        "import os, time\n"
        f"open({begun}, 'a').write('x')\n"
        f"while not os.path.exists({go}): time.sleep(0.01)\n"
        "result = 7"
    )
    return f"code_job, props: {{language: python, code: {json.dumps(code)}}}"


def plan(folder: Path, *chains: str, **nodes: str) -> str:
    """`begin -> slow -> end`, and more."""
    return light(
        "begin -> slow -> end",
        *chains,
        begin="start",
        slow=slow_code(folder),
        end="endpoint",
        **nodes,
    )


async def is_running(live: Live, run: str, folder: Path) -> None:
    """Wait until the code of `slow` has begun."""
    await told(live, run, "NodeStarted", nodeKey="slow")
    while not (folder / "begun").exists():
        await standing(live, run)


async def ran(live: Live, run: str) -> tuple[int, dict[str, list[int]]]:
    """The revision of the run, and by node with which its visits ran."""
    found = (await live.data(RUNS, id=run))["execution"]
    runs = {
        each["nodeKey"]: [visit["revisionNumber"] for visit in each["runs"]]
        for each in found["nodeStates"]
    }
    return found["revision"]["number"], runs


@pytest.fixture
async def live(tmp_path: Path) -> Any:
    async with serving(tmp_path, store=f"sqlite:{tmp_path / 'store.db'}") as served:
        yield served


async def test_a_running_graph_grows_and_loses_a_branch_and_every_visit_tells_its_revision(
    live: Live, tmp_path: Path
) -> None:
    """000-12, 000-W5: a node behind the running one, and another branch that is gone."""
    run = await live.started(
        plan(
            tmp_path,
            "begin -> gate -> left -> left_end",
            gate="barrier",
            left="transform",
            left_end="endpoint",
        )
    )
    await is_running(live, run, tmp_path)
    await told(live, run, "BarrierWaiting", nodeKey="gate")
    add = [node("more", "TRANSFORM"), edge("slow", "more"), edge("more", "end")]
    await done(live, "mutateGraph", executionId=run, mutations=add)
    cut = [{"deleteNode": "left"}, {"deleteNode": "left_end"}]
    await done(live, "mutateGraph", executionId=run, mutations=cut)
    assert (await ran(live, run))[0] == 2
    assert (await statuses(live, run))["slow"] == "RUNNING"
    (tmp_path / "go").write_text("")
    target = {"node": {"executionId": run, "nodeKey": "gate", "occurrence": 1}}
    await done(live, "decideBarrier", target=target, action="APPROVE")
    assert await ended(live, run) == "COMPLETED"
    revision, runs = await ran(live, run)
    assert revision == 2
    assert runs == {"begin": [0], "slow": [0], "gate": [0], "more": [2], "end": [2]}
    started = await all_told(live, run, "NodeStarted")
    assert {each["nodeKey"]: [each["ranWith"]] for each in started} == runs
    changes = await all_told(live, run, "DiagramMutated")
    assert [each["revisionNumber"] for each in changes] == [1, 2]
    assert (tmp_path / "begun").read_text() == "x"
    first, second = (int(each["sequence"]) for each in changes)
    drawn = {at: await picture(live, run, at) for at in (first - 1, first, second)}
    assert [("more" in text, "left_end" in text) for text in drawn.values()] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    graph = (await live.data(GRAPH, id=run))["execution"]["executionGraph"]
    summaries = [state["summary"] for state in graph["states"]]
    assert [each for each in summaries if "changed" in each] == [
        "graph changed: revision 1",
        "graph changed: revision 2",
    ]
    assert graph["render"].count("± graph changed") == 2


GRAPH = """query ($id: ID!) { execution(id: $id) {
  executionGraph { states { summary } render(format: MERMAID) } } }"""
PICTURE = """query ($id: ID!, $at: Sequence!) { execution(id: $id) {
  stateAt(sequence: $at) { render(format: MERMAID) } } }"""


async def picture(live: Live, run: str, at: int) -> str:
    """The run as it stood behind an event."""
    found: str = (await live.data(PICTURE, id=run, at=at))["execution"]["stateAt"]["render"]
    return found


ORPHANING: dict[str, tuple[Sequence[Any], str]] = {
    "deleted": ([{"deleteNode": "slow"}], "it cannot be deleted"),
    "cut off": ([{"deleteEdge": "begin"}], "it cannot be cut off from every start"),
    "without its start": (
        [{"deleteNode": "begin"}, node("begin2", "START")],
        "it cannot be cut off from every start",
    ),
    "rewired": (
        [node("between", "TRANSFORM"), edge("begin", "between"), edge("between", "slow")],
        "the edges into it cannot be changed",
    ),
    "another type": ([node("slow", "TRANSFORM")], "its type cannot be changed"),
    "another code": (
        [node("slow", "CODE_JOB", language="python", code="result = 8")],
        "its settings cannot be changed",
    ),
}


async def test_nothing_takes_a_running_node_away_from_under_it(live: Live, tmp_path: Path) -> None:
    """000-W5: refused with what is in the way, told before, and nothing has changed."""
    run = await live.started(plan(tmp_path))
    await is_running(live, run, tmp_path)
    into = (await live.data(EDGES, id=run))["execution"]["revision"]["edges"]
    [key] = [each["key"] for each in into if each["target"]["key"] == "slow"]
    for name, (mutations, why) in ORPHANING.items():
        wish = [{"deleteEdge": key} if "deleteEdge" in each else each for each in mutations]
        error = await refused(live, "mutateGraph", executionId=run, mutations=wish)
        assert (error["code"], error["__typename"]) == ("INVALID_STATE", "InvalidTransition"), name
        assert error["message"] == f"'slow' is running, so {why}.", name
        assert "Wait until it has ended" in error["hint"], name
        problems = (await preview(live, run, wish))["problems"]
        busy = [each for each in problems if each["severity"] == "ERROR"]
        assert [(each["code"], each["nodeKey"]) for each in busy] == [("NODE_BUSY", "slow")], name
    (tmp_path / "go").write_text("")
    assert await ended(live, run) == "COMPLETED"
    assert (await ran(live, run)) == (0, {"begin": [0], "slow": [0], "end": [0]})
    assert await all_told(live, run, "DiagramMutated") == []
    assert (await live.data(RUNS, id=run))["execution"]["output"]["body"] == 7


EDGES = """query ($id: ID!) { execution(id: $id) {
  revision { edges { key target { key } } } } }"""


async def paused_while_it_runs(live: Live, folder: Path, newer: str) -> str:
    """A run of a stored diagram, paused while `slow` runs; the diagram has moved on meanwhile."""
    made = await created(live, plan(folder, "begin -> old", old="barrier"))
    run = await run_of(live, diagramId=made["id"])
    await is_running(live, run, folder)
    await told(live, run, "BarrierWaiting", nodeKey="old")
    await done(live, "pauseExecution", id=run)
    await held(live, run)
    assert (await statuses(live, run))["slow"] == "RUNNING"
    assert (await update(live, made["id"], 1, newer))["errors"] == []
    return run


async def finish(live: Live, run: str, folder: Path) -> dict[str, list[int]]:
    """Let what waits go on; by node, with which revisions it ran."""
    (folder / "go").write_text("")
    target = {"node": {"executionId": run, "nodeKey": "old", "occurrence": 1}}
    await done(live, "decideBarrier", target=target, action="APPROVE")
    assert await ended(live, run) == "COMPLETED"
    return (await ran(live, run))[1]


async def test_a_resume_over_a_running_node_is_refused_unless_one_says_how(
    live: Live, tmp_path: Path
) -> None:
    """004-51: STRICT, also as the default, refuses; FORCE goes on with the graph there is."""
    newer = light("begin -> end", begin="start", end="endpoint")
    run = await paused_while_it_runs(live, tmp_path, newer)
    for policy in ({}, {"revisionPolicy": "STRICT"}):
        error = await refused(live, "resumeExecution", id=run, **policy)
        assert error["code"] == "INVALID_STATE"
        assert "revision 2" in error["message"]
    error = await refused(live, "resumeExecution", id=run, revisionPolicy="MIGRATE")
    assert error["message"].startswith("'slow' is running, so it cannot be deleted.")
    assert (await standing(live, run))["status"] == "PAUSED"
    await done(live, "resumeExecution", id=run, revisionPolicy="FORCE")
    runs = await finish(live, run, tmp_path)
    assert runs == {"begin": [1], "slow": [1], "end": [1], "old": [1]}
    assert await all_told(live, run, "DiagramMutated") == []
    assert (tmp_path / "begun").read_text() == "x"


async def test_a_running_node_goes_on_in_the_newest_revision(live: Live, tmp_path: Path) -> None:
    """004-51: MIGRATE takes over what fits, and what runs does not run again."""
    newer = plan(tmp_path, "begin -> old", "slow -> more -> end", old="barrier", more="transform")
    run = await paused_while_it_runs(live, tmp_path, newer)
    await done(live, "resumeExecution", id=run, revisionPolicy="MIGRATE")
    runs = await finish(live, run, tmp_path)
    assert runs == {"begin": [1], "slow": [1], "more": [2], "end": [2], "old": [1]}
    [change] = await all_told(live, run, "DiagramMutated")
    assert (change["revisionNumber"], change["unreachable"]) == (2, [])
    assert (tmp_path / "begun").read_text() == "x"
