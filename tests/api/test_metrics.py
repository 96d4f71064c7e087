"""What a server tells Prometheus, and whoever asks whether it is ready."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from dipeo_server.api.http import create_routes
from dipeo_server.app import backend
from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.access.roles import Role
from dipeo_server.domains.access.tokens import NewToken, TokenDraft
from dipeo_server.settings import Settings
from tests.api.serving import ASKING, EVENTS, STRAIGHT, Live, serving

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"
APPROVE = "mutation ($id: ID!) { approveBarrier(id: $id) { errors { code } } }"


class Figures:
    """What /metrics says at one moment."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, metric: str, /, **labels: str) -> float:
        return self._samples.get((metric, frozenset(labels.items())), 0)

    def labels(self, name: str) -> set[str]:
        """The values of all labels of a metric."""
        found = [labels for sample, labels in self._samples if sample.startswith(name)]
        return {value for each in found for _, value in each}


async def page(live: Live, path: str, **headers: str) -> httpx.Response:
    return await live.http.get(live.url.replace("/graphql", path), headers=headers)


async def figures(live: Live) -> Figures:
    answer = await page(live, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return Figures(answer.text)


async def test_runs_are_counted_as_they_go_on_and_end(live: Live) -> None:
    await live.ended(STRAIGHT)
    waiting = await live.started(ASKING)
    async with live.socket() as client:
        operation = await client.subscribe(EVENTS, id=waiting)
        barrier = ""
        while not barrier:
            barrier = (await client.next(operation)).get("barrierId", "")
        now = await figures(live)
        await live.data(APPROVE, id=barrier)
        while (await client.next(operation))["__typename"] != "ExecutionCompleted":
            pass
    assert now("dipeo_executions_ended_total", status="COMPLETED") == 1
    assert sum(now("dipeo_executions", status=each) for each in ("RUNNING", "WAITING")) == 1
    assert now("dipeo_subscribers") == 1
    assert now("dipeo_sockets") == 1
    assert now("dipeo_nodes_running") == 0
    assert now("dipeo_events_appended_total", kind="BarrierWaiting") == 1
    assert now("dipeo_append_seconds_count") >= 1
    end = await figures(live)
    assert end("dipeo_executions_ended_total", status="COMPLETED") == 2
    assert end("dipeo_executions", status="WAITING") == 0


async def test_operations_are_counted_by_kind_and_mutations_by_field(live: Live) -> None:
    await live.data("{ serverInfo { version } }")
    await live.answer("{ nothing }")
    await live.answer(
        'mutation Mine { first: approveBarrier(id: "x") { errors { code } } ...More } '
        'fragment More on Mutation { rejectBarrier(id: "x", reason: "") { errors { code } } }'
    )
    now = await figures(live)
    assert now("dipeo_operation_seconds_count", type="query") == 1
    assert now("dipeo_operation_seconds_count", type="mutation") == 1
    assert now("dipeo_operations_refused_total") == 1
    assert now("dipeo_mutations_total", name="approveBarrier") == 1
    assert now("dipeo_mutations_total", name="rejectBarrier") == 1
    assert now.labels("dipeo_mutations") == {"approveBarrier", "rejectBarrier"}
    assert now("dipeo_http_requests_total", path="/graphql", code="200") == 3


async def test_what_clients_choose_is_no_label(live: Live) -> None:
    await live.answer("query Chosen { alias: serverInfo { version } }")
    await page(live, "/chosen")
    await page(live, "/assets/chosen.js")
    text = (await page(live, "/metrics")).text.lower()
    assert "chosen" not in text
    assert "alias" not in text


async def test_a_run_that_was_left_is_counted_by_the_next_server(base_dir: Path) -> None:
    store = f"sqlite:{base_dir / 'runs.db'}"
    async with serving(base_dir, store=store) as live:
        execution_id = await live.started(ASKING)
        async with live.socket() as client:
            operation = await client.subscribe(EVENTS, id=execution_id)
            while (await client.next(operation))["__typename"] != "BarrierWaiting":
                pass
    async with serving(base_dir, store=store) as live:
        await live.data("query ($id: ID!) { execution(id: $id) { status } }", id=execution_id)
        now = await figures(live)
    assert now("dipeo_executions", status="WAITING") == 1


async def test_figures_are_told_under_the_names_of_the_server_only(live: Live) -> None:
    assert (await page(live, "/metrics", host="rebound.example")).status_code == 421


async def test_a_server_is_ready_until_it_stops(live: Live) -> None:
    answer = await page(live, "/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "storageProblem": None},
    )
    live.services.closing.set()
    answer = await page(live, "/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "closing")


async def test_each_request_has_an_id(live: Live) -> None:
    given = await page(live, "/healthz", **{"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    first, second = await page(live, "/healthz"), await page(live, "/healthz")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    refused = await page(live, "/healthz", **{"x-request-id": "a b"})
    assert refused.headers["x-request-id"] != "a b"


async def test_every_figure_is_documented(live: Live) -> None:
    documented = re.findall(r"^\| `(dipeo_\w+)`", OPERATING.read_text(), re.MULTILINE)
    found = live.services.metrics.registry.collect()
    names = {f"{each.name}_total" if each.type == "counter" else each.name for each in found}
    assert sorted(documented) == sorted(name for name in names if name.startswith("dipeo_"))


async def test_where_tokens_are_asked_for_figures_are_for_those_who_have_one(
    base_dir: Path,
) -> None:
    settings = Settings(base_dir=base_dir, store="memory:", auth="token")
    async with backend(settings) as services:
        assert services.access is not None
        attempt = Attempt("tests", None, "createToken", "req_1")
        made = await services.access.create(TokenDraft("prometheus", Role.VIEWER), attempt)
        assert isinstance(made, NewToken)
        transport = httpx.ASGITransport(Starlette(routes=create_routes(services)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            refused = await http.get("/metrics")
            token = {"authorization": f"Bearer {made.text}"}
            allowed = await http.get("/metrics", headers=token)
            others = [(await http.get(path)).status_code for path in ("/healthz", "/readyz")]
    assert refused.status_code == 401
    assert "WWW-Authenticate" in refused.headers
    assert "dipeo" not in refused.text
    assert (allowed.status_code, others) == (200, [200, 200])


async def test_what_is_audited_names_the_request(base_dir: Path) -> None:
    settings = Settings(base_dir=base_dir, store="memory:", auth="token")
    async with backend(settings) as services:
        transport = httpx.ASGITransport(Starlette(routes=create_routes(services)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            headers = {"authorization": "Bearer wrong", "x-request-id": "mine-2"}
            assert (await http.get("/metrics", headers=headers)).status_code == 401
        assert services.access is not None
        [entry] = await services.access.entries(before=None, limit=10)
    assert entry.attempt.request_id == "mine-2"
