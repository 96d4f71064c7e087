"""The audit over the API: what was done, refused and denied, and by whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.api.auth import FAILURES_NOTED_MAX
from dipeo_server.api.context import ATTEMPT_CHARACTERS_MAX, ApiLimits
from dipeo_server.domains.access.tokens import token_text
from dipeo_server.storage.verification import verify_store
from tests.api.guarded import Guarded, guarded
from tests.api.serving import ASKING, EVENTS, RUN, STRAIGHT, Live, light

CREATE = """mutation($name: String!, $content: String!, $key: String) {
  createDiagram(input: {name: $name, content: $content}, idempotencyKey: $key) {
    diagram { id } errors { code } } }"""
APPROVE = "mutation($id: ID!) { approveBarrier(id: $id) { errors { code } } }"
SET_OUTPUT = """mutation($id: ID!, $node: String!) {
  setNodeOutput(executionId: $id, nodeKey: $node, output: true) { errors { code } } }"""
LAST = "query ($id: ID!) { execution(id: $id) { lastSequence } }"
FORK = """mutation($id: ID!, $at: Sequence!, $overrides: ForkOverrides) {
  forkExecution(id: $id, atSequence: $at, overrides: $overrides) {
    execution { id } errors { code message } } }"""


def inline(content: str, **options: Any) -> dict[str, Any]:
    source = {"inline": {"name": "x", "content": content, "format": "LIGHT"}}
    return {"source": source, **options}


async def stored(who: Guarded, content: str, name: str = "kept") -> str:
    """The id of a diagram that is kept at the server."""
    made = (await who.data(CREATE, name=name, content=content))["createDiagram"]
    assert made["errors"] == []
    return str(made["diagram"]["id"])


async def waiting(who: Guarded, run: str) -> str:
    """The id of the barrier that the run comes to wait at."""
    async with who.socket() as client:
        await client.receive()
        id_ = await client.subscribe(EVENTS, id=run)
        while (event := await client.next(id_))["__typename"] != "BarrierWaiting":
            pass
        return str(event["barrierId"])


@pytest.mark.parametrize("kind", ["memory:", "sqlite:"])
async def test_what_is_done_is_written_down_once(base_dir: Path, kind: str) -> None:
    store = kind if kind == "memory:" else f"sqlite:{base_dir / 'runs.db'}"
    async with guarded(base_dir, store=store) as server:
        ann = await server.somebody("author", "ann")
        token = (await ann.me()).id
        diagram = await stored(ann, STRAIGHT)
        for _ in range(3):
            payload = await ann.data(RUN, input={"source": {"diagramId": diagram}}, key="once")
        run = payload["runDiagram"]["execution"]["id"]
        await ann.data(RUN, input={"source": {"diagramId": diagram}})
        first, second, third = await server.audit()
    assert first == {
        "who": "ann",
        "did": "createDiagram",
        "to": diagram,
        "key": None,
        "token": token,
        "came": "DONE",
    }
    assert second == {
        "who": "ann",
        "did": "runDiagram",
        "to": run,
        "key": "once",
        "token": token,
        "came": "DONE",
    }
    assert (third["did"], third["key"], third["came"]) == ("runDiagram", None, "DONE")
    if kind != "memory:":
        assert verify_store(base_dir / "runs.db").is_sound


async def test_what_is_refused_or_denied_is_written_down_too(base_dir: Path) -> None:
    async with guarded(base_dir) as server:
        ann = await server.somebody("operator", "ann")
        pause = 'mutation { pauseExecution(id: "exec_0_x") { errors { code } } }'
        assert (await ann.data(pause))["pauseExecution"]["errors"] == [{"code": "NOT_FOUND"}]
        assert await ann.code("{ tokens { id } }") == "FORBIDDEN"
        assert await ann.code(CREATE, name="x", content=STRAIGHT) == "FORBIDDEN"
        await replace(server, text=token_text("A" * 55)).post("{ me { name } }")
        told = [
            (each["who"], each["did"], each["to"], each["came"]) for each in await server.audit()
        ]
    assert told == [
        ("ann", "pauseExecution", "exec_0_x", "NOT_FOUND"),
        ("ann", "Query.tokens", None, "FORBIDDEN"),
        ("ann", "createDiagram", None, "FORBIDDEN"),
        ("", "authenticate", "127.0.0.1", "UNAUTHENTICATED"),
    ]


async def test_admins_page_through_the_audit(base_dir: Path) -> None:
    async with guarded(base_dir) as server:
        admin = await server.somebody("admin", "root")
        for _ in range(5):
            await admin.data('mutation { revokeToken(id: "x") { errors { code } } }')
        page = """query($after: String) { audit(first: 2, after: $after) {
          nodes { cursor principal operation outcome requestId }
          pageInfo { hasNextPage endCursor } } }"""
        seen: list[int] = []
        after = None
        while True:
            found = (await admin.data(page, after=after))["audit"]
            seen += [int(node["cursor"]) for node in found["nodes"]]
            after = found["pageInfo"]["endCursor"]
            if not found["pageInfo"]["hasNextPage"]:
                break
        assert seen == list(range(len(seen), 0, -1))
        assert len(seen) == 6  # Those five, and the making of the token.
        assert await admin.code('{ audit(after: "x") { nodes { at } } }') == "INVALID"


async def test_wrong_tokens_from_everywhere_do_not_fill_the_audit(base_dir: Path) -> None:
    async with guarded(base_dir, limits=ApiLimits(), monotonic=lambda: 1.0) as server:
        for each in range(FAILURES_NOTED_MAX + 10):
            headers = {"authorization": "Bearer wrong", "x-forwarded-for": f"10.0.0.{each}"}
            answer = await server.live.http.get(server.live.url, headers=headers)
            assert answer.status_code == 401
        noted = [each for each in await server.audit() if each["did"] == "authenticate"]
        assert [each["to"] for each in noted] == [
            f"10.0.0.{each}" for each in range(FAILURES_NOTED_MAX)
        ]


async def test_of_long_ids_the_audit_keeps_the_beginning(base_dir: Path) -> None:
    abort = "mutation ($id: ID!) { abortExecution(id: $id) { errors { code } } }"
    async with guarded(base_dir) as server:
        operator = await server.somebody("operator")
        await operator.data(abort, id="x" * 100_000)
        [entry] = await server.audit()
        assert (entry["did"], entry["came"]) == ("abortExecution", "NOT_FOUND")
        assert entry["to"] == "x" * (ATTEMPT_CHARACTERS_MAX - 1) + "…"


async def test_without_tokens_there_is_nobody_to_write_down(live: Live) -> None:
    await live.data(RUN, input=inline(STRAIGHT))
    found = await live.data("{ me { name role } tokens { id } audit { nodes { at } } }")
    assert found == {
        "me": {"name": "anonymous", "role": "ADMIN"},
        "tokens": [],
        "audit": {"nodes": []},
    }
    made = await live.data(
        'mutation { createToken(input: {name: "x", role: VIEWER}) { errors { code hint } } }'
    )
    [error] = made["createToken"]["errors"]
    assert error["code"] == "INVALID_STATE"
    assert "--auth token" in error["hint"]


# --- approving ----------------------------------------------------------------------------------


async def test_an_operator_runs_what_is_stored_and_nothing_else(base_dir: Path) -> None:
    async with guarded(base_dir) as server:
        author, operator = await server.somebody("author"), await server.somebody("operator")
        diagram = await stored(author, STRAIGHT)
        assert await operator.code(RUN, input={"source": {"diagramId": diagram}}) is None
        answer = await operator.answer(RUN, input=inline(STRAIGHT))
        [error] = answer["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert "Mutation.runDiagram(input.source.inline) needs the role author" in error["message"]
        assert await author.code(RUN, input=inline(STRAIGHT)) is None
        runs = await author.data("{ executions { totalCount } }")
        assert runs["executions"]["totalCount"] == 2


async def test_a_barrier_is_not_passed_by_hand_without_an_approver(base_dir: Path) -> None:
    async with guarded(base_dir) as server:
        author = await server.somebody("author")
        approver = await server.somebody("operator", "approver", is_approver=True)
        diagram = await stored(author, ASKING)
        source = {"source": {"diagramId": diagram}}
        run = (await author.data(RUN, input=source))["runDiagram"]["execution"]["id"]
        barrier = await waiting(author, run)
        given = {"gate": {"output": True}}
        for who, expected in ((author, "FORBIDDEN"), (approver, None)):
            begun = await who.code(RUN, input={**source, "initialState": given})
            forked = await who.code(FORK, id=run, at="2", overrides={"outputs": {"gate": True}})
            assert (begun, forked) == (expected, expected)
        assert await author.code(APPROVE, id=barrier) == "FORBIDDEN"
        assert await author.code(SET_OUTPUT, id=run, node="gate") == "FORBIDDEN"
        assert await approver.code(SET_OUTPUT, id=run, node="gate") is None


async def test_what_may_have_barriers_inside_is_not_passed_by_hand_either(base_dir: Path) -> None:
    inner = base_dir / "inner.light.yaml"
    inner.write_text(ASKING)
    outer = light(
        "begin -> child -> end",
        begin="start",
        child="sub_diagram, diagram_name: inner.light.yaml",
        end="endpoint",
    )
    async with guarded(base_dir) as server:
        author = await server.somebody("author")
        run = (await author.data(RUN, input=inline(outer)))["runDiagram"]["execution"]["id"]
        assert await author.code(SET_OUTPUT, id=run, node="child") == "FORBIDDEN"
        assert await author.code(SET_OUTPUT, id=run, node="end") is None


async def test_changing_the_graph_of_a_fork_needs_an_author(base_dir: Path) -> None:
    async with guarded(base_dir) as server:
        author, operator = await server.somebody("author"), await server.somebody("operator")
        run = (await author.data(RUN, input=inline(ASKING)))["runDiagram"]["execution"]["id"]
        await waiting(author, run)
        changes = {"mutations": [{"deleteNode": "gate"}]}
        assert await operator.code(FORK, id=run, at="2", overrides=changes) == "FORBIDDEN"
        assert await operator.code(FORK, id=run, at="2") is None


async def test_a_fork_passes_no_barrier_by_hand_that_its_origin_has_lost(base_dir: Path) -> None:
    change = """mutation ($id: ID!, $mutations: [GraphMutationInput!]!) {
      mutateGraph(executionId: $id, mutations: $mutations) { errors { code message } } }"""
    resume = "mutation ($id: ID!) { resumeExecution(id: $id) { errors { code message } } }"
    async with guarded(base_dir) as server:
        author, operator = await server.somebody("author"), await server.somebody("operator")
        held = inline(ASKING, startPaused=True)
        run = (await author.data(RUN, input=held))["runDiagram"]["execution"]["id"]
        at = (await author.data(LAST, id=run))["execution"]["lastSequence"]
        changes = [
            {"deleteNode": "gate"},
            {"upsertEdge": {"source": "begin", "target": "end"}},
        ]
        told = await author.data(change, id=run, mutations=changes)
        assert told["mutateGraph"]["errors"] == []
        assert (await author.data(resume, id=run))["resumeExecution"]["errors"] == []
        overrides = {"outputs": {"gate": True}}
        assert await operator.code(FORK, id=run, at=at, overrides=overrides) == "FORBIDDEN"
        assert await operator.code(FORK, id=run, at=at, overrides={"outputs": {"end": 1}}) is None


async def test_who_started_a_run_may_be_kept_from_approving_it(base_dir: Path) -> None:
    async with guarded(base_dir, starters_approve=False) as server:
        ann = await server.somebody("author", "ann", is_approver=True)
        again = await server.somebody("author", "ann", is_approver=True)
        bob = await server.somebody("viewer", "bob", is_approver=True)
        run = (await ann.data(RUN, input=inline(ASKING)))["runDiagram"]["execution"]["id"]
        barrier = await waiting(ann, run)
        by_node = """mutation($id: ID!) { decideBarrier(action: APPROVE, target: {
          node: {executionId: $id, nodeKey: "gate", occurrence: 1}}) { errors { code } } }"""
        for who in (ann, again):  # Another token does not make somebody else.
            assert await who.code(APPROVE, id=barrier) == "FORBIDDEN"
            assert await who.code(by_node, id=run) == "FORBIDDEN"
            assert await who.code(SET_OUTPUT, id=run, node="gate") == "FORBIDDEN"
        given = {"gate": {"output": True}}
        assert await ann.code(RUN, input=inline(ASKING, initialState=given)) == "FORBIDDEN"
        assert (await bob.data(APPROVE, id=barrier))["approveBarrier"]["errors"] == []
        told = [each for each in await server.audit() if each["did"] == "approveBarrier"]
        assert [(each["who"], each["came"]) for each in told] == [
            ("ann", "FORBIDDEN"),
            ("ann", "FORBIDDEN"),
            ("bob", "DONE"),
        ]


async def test_who_started_a_run_may_answer_its_questions(base_dir: Path) -> None:
    content = (
        "version: light\nnodes:\n- {label: a, type: start}\n"
        "- {label: ask, type: user_response, prompt: 'How many?'}\n- {label: z, type: endpoint}\n"
        "connections:\n- {from: a, to: ask}\n- {from: ask, to: z}\n"
    )
    async with guarded(base_dir, starters_approve=False) as server:
        ann = await server.somebody("author", "ann", is_approver=True)
        run = (await ann.data(RUN, input=inline(content)))["runDiagram"]["execution"]["id"]
        barrier = await waiting(ann, run)
        answer = "mutation($id: ID!) { approveBarrier(id: $id, answer: 3) { errors { code } } }"
        assert (await ann.data(answer, id=barrier))["approveBarrier"]["errors"] == []
