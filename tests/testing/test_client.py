"""The client for tests and scripts: one line for each thing that a test does to a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from dipeo_server.errors import InvalidState, NotFound
from dipeo_server.testing import Client, Refused, RunFailed, Server, server
from tests.testing.diagrams import ASKING, FAILING, GREETING


@pytest.fixture
async def dipeo(base_dir: Path) -> AsyncIterator[Server]:
    async with server(base_dir) as running:
        yield running


async def test_a_run_is_started_and_awaited_in_one_line(dipeo: Server) -> None:
    done = (await dipeo.run(GREETING, {"name": "Ada"})).raise_for_failure()
    assert (done.status, done.output("greet")) == ("COMPLETED", "hello Ada")
    assert done.nodes["begin"].status == "COMPLETED"
    assert done.variables == {"name": "Ada"}
    assert not done.is_active


async def test_a_diagram_may_be_a_file_a_text_or_a_map(dipeo: Server, tmp_path: Path) -> None:
    file = tmp_path / "greeting.light.yaml"
    file.write_text(GREETING)
    nodes = {
        "nodes": [
            {"key": "a", "type": "START"},
            {"key": "b", "type": "TEMPLATE_JOB", "props": {"template_content": "hi {{ name }}"}},
        ],
        "edges": [{"source": "a", "target": "b"}],
    }
    for diagram, node, said in ((file, "greet", "hello x"), (nodes, "b", "hi x")):
        done = await dipeo.run(diagram, {"name": "x"})
        assert done.raise_for_failure().output(node) == said


async def test_a_failure_is_told_by_name(dipeo: Server) -> None:
    failed = await dipeo.run(FAILING)
    assert failed.status == "FAILED"
    with pytest.raises(RunFailed, match="work: ValueError: no prices") as caught:
        failed.raise_for_failure()
    assert caught.value.execution == failed


async def test_what_is_wrong_with_a_diagram_is_raised_with_its_place(dipeo: Server) -> None:
    with pytest.raises(Refused) as caught:
        await dipeo.start("version: light\nnodes:\n  - {label: a, type: strat}\n")
    assert caught.value.code == "INVALID"
    assert caught.value.problems
    assert "strat" in str(caught.value)


async def test_a_barrier_is_awaited_and_approved(dipeo: Server) -> None:
    run = await dipeo.start(ASKING)
    barrier = await dipeo.barrier(run, "gate")
    assert (barrier.status, barrier.node, barrier.prompt) == ("WAITING", "gate", "Go on?")
    decided = await dipeo.approve(barrier, reason="looks good")
    assert (decided.status, decided.reason) == ("APPROVED", "looks good")
    assert (await dipeo.ended(run)).status == "COMPLETED"
    with pytest.raises(Refused) as caught:
        await dipeo.reject(barrier, "too late")
    assert caught.value.code == "ALREADY_DECIDED"


async def test_a_barrier_that_will_never_wait_is_told(dipeo: Server) -> None:
    run = await dipeo.start(GREETING, {"name": "Ada"})
    with pytest.raises(InvalidState, match="ended without it: it is COMPLETED"):
        await dipeo.barrier(run)


async def test_a_run_that_does_not_end_says_what_it_waits_for(dipeo: Server) -> None:
    run = await dipeo.start(ASKING)
    await dipeo.barrier(run)
    with pytest.raises(TimeoutError, match=r"is WAITING still; waiting for a person: gate"):
        await dipeo.ended(run, timeout=0.05)


async def test_events_are_told_in_order_and_from_anywhere(dipeo: Server) -> None:
    run = (await dipeo.run(GREETING, {"name": "Ada"})).id
    async with aclosing(dipeo.events(run)) as events:
        told = [event async for event in events]
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    assert told[-1].is_terminal
    assert [event.node for event in told if event.type == "NodeStarted"] == [
        "begin",
        "greet",
        "end",
    ]
    async with aclosing(dipeo.events(run, after=3)) as later:
        assert [event async for event in later] == told[3:]


async def test_a_run_is_steered(dipeo: Server) -> None:
    run = await dipeo.start(GREETING, {"name": "Ada"}, startPaused=True)
    assert (await dipeo.execution(run)).status == "PAUSED"
    stepped = await dipeo.step(run)
    assert stepped.id == run
    await dipeo.resume(run, variables={"name": "Grace"})
    assert (await dipeo.ended(run)).output("greet") == "hello Grace"


async def test_a_run_is_forked_with_something_else(dipeo: Server) -> None:
    run = await dipeo.run(GREETING, {"name": "Ada"})
    fork = await dipeo.fork(run.id, 2, overrides={"variables": {"name": "Grace"}})
    assert (await dipeo.ended(fork.id)).output("greet") == "hello Grace"
    assert await dipeo.execution(run.id) == run


async def test_a_node_is_given_its_output_and_another_is_skipped(dipeo: Server) -> None:
    run = await dipeo.start(GREETING, startPaused=True)
    with pytest.raises(Refused) as caught:
        await dipeo.retry(run, "greet")
    assert caught.value.code == "INVALID_STATE"
    await dipeo.set_output(run, "begin", "given")
    await dipeo.skip(run, "greet", reason="not today")
    done = await dipeo.ended(run)
    assert done.nodes["greet"].skip_reason is not None


async def test_a_run_is_paused_and_aborted(dipeo: Server) -> None:
    run = await dipeo.start(ASKING)
    await dipeo.barrier(run)
    assert (await dipeo.pause(run, reason="lunch")).status == "PAUSED"
    await dipeo.abort(run, reason="withdrawn")
    assert (await dipeo.ended(run)).status == "ABORTED"


async def test_a_repeated_key_starts_nothing_again(dipeo: Server) -> None:
    first = await dipeo.start(GREETING, {"name": "Ada"}, key="order-17")
    assert await dipeo.start(GREETING, {"name": "Ada"}, key="order-17") == first


async def test_anything_else_is_asked_in_graphql(dipeo: Server) -> None:
    assert (await dipeo.execute("{ serverInfo { version } }"))["serverInfo"]["version"]
    with pytest.raises(Refused) as caught:
        await dipeo.execute("{ nothing }")
    assert caught.value.code == "GRAPHQL_VALIDATION_FAILED"
    with pytest.raises(NotFound):
        await dipeo.execution("exec_0_none")


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(InvalidState, match="not open"):
        await Client("http://127.0.0.1:1/graphql").execution("exec_0_none")
