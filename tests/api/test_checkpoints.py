"""Checkpoints over GraphQL: policies, events, lists, ids, and asking for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.checkpoint import checkpoint_id
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from tests.api.guarded import guarded
from tests.api.serving import RUN, Live
from tests.api.steering import CHAIN, GATES, ahead, done, paused

CHECKPOINT = "id sequence trigger contentHash graphHash nextNode sizeBytes createdAt"
SAVE = f"""mutation ($id: ID!, $key: String) {{
  saveCheckpoint(executionId: $id, idempotencyKey: $key) {{
    checkpoint {{ {CHECKPOINT} execution {{ id lastSequence }} }}
    errors {{ __typename code message hint }} }} }}"""
LIST = f"""query ($id: ID!, $first: Int, $after: String) {{ execution(id: $id) {{
  lastSequence revision {{ contentHash }}
  checkpoints(first: $first, after: $after) {{
    nodes {{ {CHECKPOINT} }} edges {{ cursor node {{ id }} }} totalCount
    pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }} }}"""
EVENTS = """query ($id: ID!) { execution(id: $id) { events(first: 1000) { nodes {
  __typename sequence
  ... on CheckpointSaved { checkpointId at trigger sizeBytes }
  ... on CheckpointFailed { trigger message } } } } }"""
NODE = (
    f"query ($id: ID!) {{ node(id: $id) {{ __typename id ... on Checkpoint {{ {CHECKPOINT} }} }} }}"
)


async def events(live: Live, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await live.data(EVENTS, id=run))["execution"]["events"]["nodes"]
    return found


async def listed(live: Live, run: str, **page: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await live.data(LIST, id=run, **page))["execution"]
    return found


async def save(live: Live, run: str, key: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = (await live.data(SAVE, id=run, key=key))["saveCheckpoint"]
    return found


async def test_a_run_has_one_right_before_its_end(live: Live) -> None:
    """004-46, 004-49: conservative is the default."""
    run = await live.ended(CHAIN)
    *_, saved, last = await events(live, run)
    assert (saved["__typename"], saved["trigger"]) == ("CheckpointSaved", "EXECUTION_COMPLETED")
    assert last["__typename"] == "ExecutionCompleted"
    told = await listed(live, run)
    [node] = told["checkpoints"]["nodes"]
    assert node["id"] == saved["checkpointId"]
    assert (node["sequence"], node["sizeBytes"]) == (saved["at"], saved["sizeBytes"])
    assert node["nextNode"] == "__complete__"
    assert node["graphHash"] == told["revision"]["contentHash"]
    assert len(node["contentHash"]) == 64
    assert (await live.data(NODE, id=node["id"]))["node"] == {"__typename": "Checkpoint", **node}


@pytest.mark.parametrize(
    "policy, expected",
    [
        ({"preset": "CONSERVATIVE"}, ["EXECUTION_COMPLETED"]),
        ({"preset": "MINIMAL"}, ["EXECUTION_COMPLETED"]),
        ({"preset": "MANUAL"}, []),
        ({"triggers": []}, []),
        ({"triggers": ["EVERY_STEP"]}, ["EVERY_STEP"] * 3),
        (
            {"triggers": ["EXECUTION_COMPLETED", "EVERY_STEP"]},
            ["EVERY_STEP", "EVERY_STEP", "EXECUTION_COMPLETED"],
        ),
    ],
)
async def test_a_policy_is_a_preset_or_triggers(
    live: Live, policy: dict[str, Any], expected: list[str]
) -> None:
    """004-46"""
    run = await live.ended(CHAIN, checkpointPolicy=policy)
    found = [each for each in await events(live, run) if each["__typename"] == "CheckpointSaved"]
    assert [each["trigger"] for each in found] == expected


@pytest.mark.parametrize("policy", [{}, {"preset": "MANUAL", "triggers": []}])
async def test_a_policy_is_exactly_one_of_both(live: Live, policy: dict[str, Any]) -> None:
    answer = await live.answer(
        "mutation ($p: CheckpointPolicyInput) { runDiagram(input: {source: {}, "
        "checkpointPolicy: $p}) { errors { code } } }",
        p=policy,
    )
    assert "exactly one" in answer["errors"][0]["message"].lower()


async def test_somebody_may_ask_for_one(live: Live) -> None:
    """004-46, 004-W9: whatever the policy says."""
    run = await paused(live, CHAIN, checkpointPolicy={"preset": "MANUAL"})
    payload = await save(live, run)
    assert payload["errors"] == []
    found = payload["checkpoint"]
    assert (found["trigger"], found["nextNode"]) == ("ON_REQUEST", "begin")
    assert found["execution"] == {"id": run, "lastSequence": str(int(found["sequence"]) + 1)}
    again = await save(live, run)
    assert again["checkpoint"]["id"] == found["id"]  # Nothing has happened since.


async def test_a_key_asks_once(live: Live) -> None:
    run = await paused(live, CHAIN, checkpointPolicy={"preset": "MANUAL"})
    first = (await save(live, run, key="k"))["checkpoint"]
    await done(live, "resumeExecution", id=run)
    await live.follow(run)
    assert (await save(live, run, key="k"))["checkpoint"]["id"] == first["id"]
    told = await listed(live, run)
    assert told["checkpoints"]["totalCount"] == 1


async def test_none_can_be_taken_of_a_run_that_has_ended(live: Live) -> None:
    run = await live.ended(CHAIN)
    payload = await save(live, run)
    assert payload["checkpoint"] is None
    [error] = payload["errors"]
    assert error["__typename"] == "InvalidTransition"
    assert (await save(live, "exec_0_none"))["errors"][0]["code"] == "NOT_FOUND"


async def test_lists_have_pages_newest_first(live: Live) -> None:
    run = await live.ended(CHAIN, checkpointPolicy={"triggers": ["EVERY_STEP"]})
    whole = (await listed(live, run))["checkpoints"]
    places = [int(each["sequence"]) for each in whole["nodes"]]
    assert places == sorted(places, reverse=True)
    first = (await listed(live, run, first=2))["checkpoints"]
    assert first["pageInfo"]["hasNextPage"] is True
    after = first["pageInfo"]["endCursor"]
    rest = (await listed(live, run, first=2, after=after))["checkpoints"]
    assert [*first["nodes"], *rest["nodes"]] == whole["nodes"]
    assert rest["pageInfo"]["hasNextPage"] is False
    assert rest["pageInfo"]["hasPreviousPage"] is True
    assert rest["totalCount"] == 3


@pytest.mark.parametrize(
    "id_",
    [
        checkpoint_id(ExecutionID("exec_0_none"), Seq(3)),
        "checkpoint_",
        "checkpoint_exec_0_none_x",
    ],
)
async def test_an_id_of_nothing_is_nothing(live: Live, id_: str) -> None:
    assert (await live.data(NODE, id=id_))["node"] is None


async def test_decisions_of_people_are_kept(live: Live) -> None:
    """004-W8, 004-W12"""
    run = await live.started(GATES)
    await ahead(live, run, "first", "APPROVE")
    await ahead(live, run, "second", "APPROVE")
    await live.follow(run)
    triggers = [each.get("trigger") for each in await events(live, run) if "at" in each]
    assert triggers[-1] == "EXECUTION_COMPLETED"
    assert set(triggers[:-1]) <= {"HUMAN_DECISION", "BARRIER_RESOLVED"}
    assert len(triggers) >= 3


# --- deleting them --------------------------------------------------------------------------------

DELETE = """mutation ($id: ID!, $ids: [ID!], $keep: Int, $key: String) {
  deleteCheckpoints(executionId: $id, ids: $ids, keep: $keep, idempotencyKey: $key) {
    deletedCount errors { __typename code message field } } }"""
PAST = """query ($id: ID!, $at: Sequence!) { execution(id: $id) { stateAt(sequence: $at) {
  status lastSequence variables
  nodeStates { nodeKey status runs { occurrence status } output { body } } } } }"""


async def deleted(live: Live, run: str, **which: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await live.data(DELETE, id=run, **which))["deleteCheckpoints"]
    return found


async def every_moment(live: Live, run: str) -> list[dict[str, Any]]:
    """The run behind each of its events."""
    last = int((await listed(live, run))["lastSequence"])
    found = [await live.data(PAST, id=run, at=str(at)) for at in range(1, last + 1)]
    return [each["execution"]["stateAt"] for each in found]


async def test_deleting_checkpoints_changes_nothing_but_time(live: Live) -> None:
    """004-50: one, all but some, and all; the run is what it was behind every event."""
    run = await live.ended(CHAIN, checkpointPolicy={"triggers": ["EVERY_STEP"]})
    told, before = await events(live, run), await every_moment(live, run)
    ids = [each["id"] for each in (await listed(live, run))["checkpoints"]["nodes"]]
    assert await deleted(live, run, ids=ids[1:2]) == {"deletedCount": 1, "errors": []}
    assert (await deleted(live, run, ids=ids[1:2]))["deletedCount"] == 0
    assert (await live.data(NODE, id=ids[1]))["node"] is None
    assert (await deleted(live, run, keep=1))["deletedCount"] == 1
    left = (await listed(live, run))["checkpoints"]
    assert [each["id"] for each in left["nodes"]] == ids[:1]
    assert (await deleted(live, run))["deletedCount"] == 1
    assert (await listed(live, run))["checkpoints"]["totalCount"] == 0
    assert await events(live, run) == told
    assert await every_moment(live, run) == before


async def test_repeating_a_deletion_by_its_key_deletes_nothing_more(live: Live) -> None:
    """G3"""
    run = await paused(live, CHAIN, checkpointPolicy={"triggers": ["EVERY_STEP"]})
    await save(live, run)
    first = await deleted(live, run, keep=0, key="once")
    assert first == {"deletedCount": 1, "errors": []}
    await done(live, "resumeExecution", id=run)
    await live.follow(run)
    assert await deleted(live, run, keep=0, key="once") == first
    assert (await listed(live, run))["checkpoints"]["totalCount"] == 3
    others: list[dict[str, Any]] = [{"keep": 1}, {"ids": []}, {}]
    for other in others:
        [error] = (await deleted(live, run, **other, key="once"))["errors"]
        assert error["code"] == "IDEMPOTENCY_MISMATCH"
    await live.data(f'mutation {{ deleteExecution(id: "{run}") {{ deletedId }} }}')
    assert await deleted(live, run, keep=0, key="once") == first
    [error] = (await deleted(live, run, keep=0, key="other"))["errors"]
    assert error["code"] == "NOT_FOUND"


@pytest.mark.parametrize("kind", ["memory:", "sqlite:"])
async def test_whoever_deletes_checkpoints_is_in_the_audit_once(base_dir: Path, kind: str) -> None:
    store = kind if kind == "memory:" else f"sqlite:{base_dir / 'runs.db'}"
    async with guarded(base_dir, store=store) as server:
        ann = await server.somebody("author", "ann")
        source = {"inline": {"name": "x", "content": CHAIN, "format": "LIGHT"}}
        run = (await ann.data(RUN, input={"source": source}))["runDiagram"]["execution"]["id"]
        for _ in range(2):
            payload = (await ann.data(DELETE, id=run, keep=0, key="once"))["deleteCheckpoints"]
            assert payload["errors"] == []
        _, told = await server.audit()
    assert (told["who"], told["did"], told["to"]) == ("ann", "deleteCheckpoints", run)
    assert (told["key"], told["came"]) == ("once", "DONE")


async def test_a_run_whose_checkpoints_were_deleted_goes_on_and_takes_more(live: Live) -> None:
    run = await paused(live, CHAIN, checkpointPolicy={"triggers": ["EVERY_STEP"]})
    await save(live, run)
    assert (await deleted(live, run))["deletedCount"] == 1
    await done(live, "resumeExecution", id=run)
    await live.follow(run)
    assert (await listed(live, run))["checkpoints"]["totalCount"] == 3


@pytest.mark.parametrize(
    "which, code",
    [
        ({"keep": -1}, "INVALID"),
        ({"ids": [], "keep": 1}, "INVALID"),
        ({"ids": ["checkpoint_exec_0_other_3"]}, "NOT_FOUND"),
        ({"ids": ["nothing"]}, "NOT_FOUND"),
    ],
)
async def test_what_cannot_be_deleted_is_refused(
    live: Live, which: dict[str, Any], code: str
) -> None:
    run = await live.ended(CHAIN)
    [error] = (await deleted(live, run, **which))["errors"]
    assert error["code"] == code
    [error] = (await deleted(live, "exec_0_none"))["errors"]
    assert error["code"] == "NOT_FOUND"
    assert (await listed(live, run))["checkpoints"]["totalCount"] == 1
