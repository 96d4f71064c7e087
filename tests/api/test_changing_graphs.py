"""Another graph for a run that goes on: asked before, made, refused, and told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.api.keeping import created, update
from tests.api.keeping import started as run_of
from tests.api.serving import Live, light
from tests.api.steering import (
    CHAIN,
    all_told,
    done,
    ended,
    held,
    paused,
    refused,
    standing,
    statuses,
    told,
)

PREVIEW = """query ($id: ID!, $mutations: [GraphMutationInput!]!) {
  previewGraphMutation(executionId: $id, mutations: $mutations) {
    kept rerun unreachable problems { severity code message nodeKey } } }"""
FORK = """mutation ($id: ID!, $at: Sequence!, $overrides: ForkOverrides) {
  forkExecution(id: $id, atSequence: $at, overrides: $overrides) {
    execution { id } errors { code message } } }"""
REVISION = """query ($id: ID!) { execution(id: $id) {
  revision { number contentHash nodes { key } } } }"""
STORY = light(
    "begin -> slow -> end",
    "begin -> other -> end2",
    begin="start",
    slow="barrier",
    other="barrier",
    end="endpoint",
    end2="endpoint",
)


def node(key: str, type_: str, **props: Any) -> dict[str, Any]:
    return {"upsertNode": {"key": key, "type": type_, "props": props}}


def edge(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"upsertEdge": {"source": source, "target": target, **more}}


async def preview(live: Live, run: str, mutations: Sequence[Any]) -> Any:
    answer = await live.data(PREVIEW, id=run, mutations=mutations)
    return answer["previewGraphMutation"]


def waiting_for(path: Path) -> str:
    """Code that ends as soon as a file is there."""
    name = json.dumps(str(path))
    return f"import os, time\nwhile not os.path.exists({name}): time.sleep(0.01)\nresult = 7"


async def test_a_graph_grows_behind_a_running_node_and_loses_a_branch(
    live: Live, base_dir: Path
) -> None:
    """000-12, 000-17, 000-26, 000-28, 000-W5."""
    code = json.dumps(waiting_for(base_dir / "go"))
    content = light(
        "begin -> slow -> end",
        "begin -> gate -> left",
        begin="start",
        slow=f"code_job, props: {{language: python, code: {code}}}",
        gate="barrier",
        left="transform",
        end="endpoint",
    )
    run = await live.started(content)
    await told(live, run, "NodeStarted", nodeKey="slow")
    await told(live, run, "BarrierWaiting", nodeKey="gate")
    assert "MUTATE" in (await standing(live, run))["availableActions"]
    changes = [
        node("more", "TRANSFORM"),
        edge("slow", "more"),
        edge("more", "end"),
        {"deleteNode": "left"},
    ]
    found = await preview(live, run, changes)
    assert found == {
        "kept": ["begin", "slow", "gate"],
        "rerun": ["end", "more"],
        "unreachable": [],
        "problems": found["problems"],
    }
    assert {each["severity"] for each in found["problems"]} <= {"WARNING"}
    await done(live, "mutateGraph", executionId=run, mutations=changes)
    (base_dir / "go").write_text("")
    await told(live, run, "NodeCompleted", nodeKey="more")
    target = {"node": {"executionId": run, "nodeKey": "gate", "occurrence": 1}}
    await done(live, "decideBarrier", target=target, action="APPROVE")
    assert await ended(live, run) == "COMPLETED"
    assert await statuses(live, run) == dict.fromkeys(
        ["begin", "slow", "gate", "end", "more"], "COMPLETED"
    )
    [change] = await all_told(live, run, "DiagramMutated")
    assert (change["revisionNumber"], change["rerun"]) == (1, ["end", "more"])
    started = await all_told(live, run, "NodeStarted")
    ran_with = {each["nodeKey"]: each["ranWith"] for each in started}
    assert ran_with == {"begin": 0, "slow": 0, "gate": 0, "more": 1, "end": 1}
    revision = (await live.data(REVISION, id=run))["execution"]["revision"]
    assert (revision["number"], revision["contentHash"]) == (1, change["contentHash"])
    assert [each["key"] for each in revision["nodes"]] == ["begin", "slow", "gate", "end", "more"]


async def test_what_waits_cannot_be_deleted_or_cut_off(live: Live) -> None:
    run = await live.started(STORY)
    await told(live, run, "BarrierWaiting", nodeKey="slow")
    changes = [{"deleteNode": "slow"}]
    error = await refused(live, "mutateGraph", executionId=run, mutations=changes)
    assert error["code"] == "INVALID_STATE"
    assert error["message"] == "'slow' waits for a person, so it cannot be deleted."
    assert error["hint"]
    found = await preview(live, run, changes)
    assert [each["code"] for each in found["problems"] if each["severity"] == "ERROR"] == [
        "NODE_BUSY"
    ]
    assert await all_mutations(live, run) == []


async def all_mutations(live: Live, run: str) -> list[dict[str, Any]]:
    await done(live, "abortExecution", id=run)
    return await all_told(live, run, "DiagramMutated")


async def test_a_change_that_makes_no_diagram_is_refused_by_its_index(live: Live) -> None:
    run = await paused(live, CHAIN)
    changes = [{"deleteNode": "work"}, edge("begin", "nobody")]
    error = await refused(live, "mutateGraph", executionId=run, mutations=changes)
    assert error["__typename"] == "DiagramInvalid"
    assert "mutations[1]: the diagram has no node 'nobody'" in error["message"]
    assert (await preview(live, run, changes))["problems"]


async def test_a_node_that_no_start_reaches_any_more_is_skipped(live: Live) -> None:
    run = await paused(live, CHAIN)
    payload = await done(live, "mutateGraph", executionId=run, mutations=[{"deleteNode": "work"}])
    assert payload["execution"]["status"] == "PAUSED"
    await told(live, run, "NodeSkipped", nodeKey="end", skipped="unreachable")
    await done(live, "resumeExecution", id=run)
    assert await ended(live, run) == "COMPLETED"
    assert await statuses(live, run) == {"begin": "COMPLETED", "end": "SKIPPED"}


async def test_a_graph_is_changed_once_for_each_key(live: Live) -> None:
    run = await paused(live, CHAIN)
    changes = [{"deleteNode": "work"}, edge("begin", "end")]
    for _ in range(2):
        await done(live, "mutateGraph", executionId=run, mutations=changes, idempotencyKey="k")
    error = await refused(
        live, "mutateGraph", executionId=run, mutations=changes[:1], idempotencyKey="k"
    )
    assert error["code"] == "IDEMPOTENCY_MISMATCH"
    assert len(await all_mutations(live, run)) == 1


async def test_a_run_that_has_ended_keeps_its_graph(live: Live) -> None:
    run = await live.started(CHAIN)
    assert await ended(live, run) == "COMPLETED"
    changes = [{"deleteNode": "work"}]
    error = await refused(live, "mutateGraph", executionId=run, mutations=changes)
    assert error["code"] == "INVALID_STATE"


async def test_a_fork_goes_on_with_another_graph(live: Live) -> None:
    run = await live.started(CHAIN)
    assert await ended(live, run) == "COMPLETED"
    overrides = {"mutations": [{"deleteNode": "work"}, edge("begin", "end")]}
    payload = (await live.data(FORK, id=run, at=1, overrides=overrides))["forkExecution"]
    assert payload["errors"] == []
    fork = payload["execution"]["id"]
    assert await ended(live, fork) == "COMPLETED"
    assert await statuses(live, fork) == {"begin": "COMPLETED", "end": "COMPLETED"}
    assert set(await statuses(live, run)) == {"begin", "work", "end"}


async def moved_on(live: Live) -> tuple[str, str]:
    """A paused run, and its stored diagram which has a node less by now."""
    made = await created(live, STORY)
    run = await run_of(live, diagramId=made["id"])
    await told(live, run, "BarrierWaiting", nodeKey="slow")
    await done(live, "pauseExecution", id=run)
    await held(live, run)
    without = light(
        "begin -> slow -> end",
        "begin -> other",
        begin="start",
        slow="barrier",
        other="barrier",
        end="endpoint",
    )
    assert (await update(live, made["id"], 1, without))["errors"] == []
    return run, made["id"]


async def test_a_run_whose_diagram_has_moved_on_is_not_resumed_unawares(live: Live) -> None:
    run, _ = await moved_on(live)
    error = await refused(live, "resumeExecution", id=run)
    assert error["code"] == "INVALID_STATE"
    assert "revision 2" in error["message"]
    assert "FORCE" in error["hint"]


async def test_a_run_goes_on_with_the_graph_it_has_if_it_is_forced(live: Live) -> None:
    run, _ = await moved_on(live)
    await done(live, "resumeExecution", id=run, revisionPolicy="FORCE")
    assert "end2" in await statuses(live, run)
    assert await all_mutations(live, run) == []


async def test_a_run_migrates_to_the_newest_revision(live: Live) -> None:
    run, _ = await moved_on(live)
    await done(live, "resumeExecution", id=run, revisionPolicy="MIGRATE")
    assert "end2" not in await statuses(live, run)
    await done(live, "pauseExecution", id=run)
    await done(live, "resumeExecution", id=run)
    [change] = await all_mutations(live, run)
    assert change["revisionNumber"] == 2
