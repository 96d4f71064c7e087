"""Traces: what a run and its visits tell OpenTelemetry, also behind a restart."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette

from dipeo_server.api.context import ApiServices
from dipeo_server.api.http import create_routes
from dipeo_server.app import backend
from dipeo_server.domains.execution.events import ExecutionStatusChanged
from dipeo_server.domains.execution.handlers import create_node_output
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.output import NodeOutput
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.domains.execution.trace_ids import root_span_id, span_id, trace_id
from dipeo_server.node_types import built_in_node_types
from dipeo_server.runtime.tracing import is_configured
from dipeo_server.settings import Settings
from tests.api.serving import ASKING, RUN, STRAIGHT, light

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Traced:
    """A server whose spans end up in a list."""

    services: ApiServices
    http: httpx.AsyncClient
    exporter: InMemorySpanExporter

    async def data(
        self, query: str, headers: dict[str, str] | None = None, **variables: Any
    ) -> Any:
        body = {"query": query, "variables": variables}
        answer = (await self.http.post("/graphql", json=body, headers=headers)).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def run(self, content: str, **headers: str) -> ExecutionID:
        source = {"inline": {"name": "test", "content": content, "format": "LIGHT"}}
        found = await self.data(RUN, headers, input={"source": source})
        return ExecutionID(found["runDiagram"]["execution"]["id"])

    async def until(self, execution_id: ExecutionID, status: ExecutionStatus) -> None:
        """Wait until the run has that status, or has ended."""
        source = self.services.runner.events(execution_id)
        assert isinstance(source, AsyncGenerator)
        async with aclosing(source):
            async for recorded in source:
                event = recorded.event
                if isinstance(event, ExecutionStatusChanged) and event.after is status:
                    return

    async def ended(self, execution_id: ExecutionID) -> None:
        """Wait until the run has ended."""
        async for _ in self.services.runner.events(execution_id):
            pass

    def spans(self, execution_id: ExecutionID) -> dict[str, ReadableSpan]:
        """The spans of a run that have ended, by name."""
        wanted = int(trace_id(execution_id), 16)
        found = [each for each in self.exporter.get_finished_spans() if place(each)[0] == wanted]
        assert len({each.name for each in found}) == len(found)
        return {each.name: each for each in found}


def place(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def root_place(execution_id: ExecutionID) -> tuple[int, int]:
    return int(trace_id(execution_id), 16), int(root_span_id(execution_id), 16)


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


@asynccontextmanager
async def traced(
    base_dir: Path, store: str = "memory:", registry: HandlerRegistry | None = None
) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = Settings(base_dir=base_dir, store=store)
    async with backend(settings, registry, spans=provider) as services:
        transport = httpx.ASGITransport(Starlette(routes=create_routes(services)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Traced(services, http, exporter)
    provider.shutdown()


async def test_a_run_is_a_trace_and_a_visit_is_a_span(base_dir: Path) -> None:
    async with traced(base_dir) as server:
        execution_id = await server.run(STRAIGHT)
        await server.ended(execution_id)
        spans = server.spans(execution_id)
    assert set(spans) == {"run", "start begin", "transform work", "endpoint end"}
    root, work = spans["run"], spans["transform work"]
    assert place(root) == root_place(execution_id)
    assert root.parent is None
    assert work.parent is not None
    assert (work.parent.trace_id, work.parent.span_id) == root_place(execution_id)
    assert f"{place(work)[1]:016x}" == span_id(execution_id, NodeRun("work", 1))
    assert dict(work.attributes or {})["dipeo.node.type"] == "transform"
    assert root.start_time is not None
    assert work.start_time is not None
    assert work.end_time is not None
    assert root.end_time is not None
    assert root.start_time <= work.start_time <= work.end_time <= root.end_time
    assert root.end_time % 1_000 == 0


async def test_a_run_is_linked_to_the_request_and_that_is_the_callers(base_dir: Path) -> None:
    async with traced(base_dir) as server:
        execution_id = await server.run(STRAIGHT, traceparent=CALLER)
        await server.ended(execution_id)
        root = server.spans(execution_id)["run"]
        [request] = [
            each
            for each in server.exporter.get_finished_spans()
            if each.name == "POST /graphql" and each.parent is not None
        ]
    assert request.kind is trace.SpanKind.SERVER
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}-{request.parent.span_id:016x}" in CALLER
    assert dict(request.attributes or {})["http.response.status_code"] == 200
    assert links(root) == [place(request)]


async def test_a_failure_is_an_error_of_its_visit_and_of_the_run(base_dir: Path) -> None:
    failing = light(
        "begin -> work -> end",
        begin="start",
        work="code_job, language: python, code: 'raise ValueError(1)'",
        end="endpoint",
    )
    async with traced(base_dir) as server:
        execution_id = await server.run(failing)
        await server.ended(execution_id)
        spans = server.spans(execution_id)
    for name in ("run", "code_job work"):
        assert spans[name].status.status_code is trace.StatusCode.ERROR
        assert "error.type" in dict(spans[name].attributes or {})
    assert spans["start begin"].status.status_code is trace.StatusCode.UNSET


async def test_what_a_restarted_server_tells_belongs_to_the_same_trace(base_dir: Path) -> None:
    store = f"sqlite:{base_dir / 'runs.db'}"
    async with traced(base_dir, store) as server:
        execution_id = await server.run(ASKING)
        await server.until(execution_id, ExecutionStatus.WAITING)
        before = server.spans(execution_id)
    async with traced(base_dir, store) as server:
        found = await server.data("{ waitingBarriers { id } }")
        [barrier] = found["waitingBarriers"]
        approve = "mutation ($id: ID!) { approveBarrier(id: $id) { errors { code } } }"
        await server.data(approve, id=barrier["id"])
        await server.ended(execution_id)
        after = server.spans(execution_id)
    assert set(before) == {"start begin"}
    assert set(after) == {"run", "barrier gate", "endpoint end"}
    assert place(after["run"]) == root_place(execution_id)
    for each in (before["start begin"], after["barrier gate"], after["endpoint end"]):
        assert each.parent is not None
        assert (each.parent.trace_id, each.parent.span_id) == root_place(execution_id)
    started, gate = before["start begin"].start_time, after["barrier gate"].start_time
    assert started is not None
    assert gate is not None
    assert after["run"].start_time is not None
    assert after["run"].start_time <= started <= gate


async def test_a_fork_is_linked_to_its_origin(base_dir: Path) -> None:
    fork = (
        "mutation ($id: ID!) { forkExecution(id: $id, atSequence: 3) "
        "{ execution { id } errors { message } } }"
    )
    async with traced(base_dir) as server:
        execution_id = await server.run(STRAIGHT)
        await server.ended(execution_id)
        found = (await server.data(fork, id=execution_id))["forkExecution"]
        forked = ExecutionID(found["execution"]["id"])
        await server.ended(forked)
        root = server.spans(forked)["run"]
    assert place(root) == root_place(forked)
    assert links(root)[0] == root_place(execution_id)


async def test_a_child_is_linked_to_the_visit_it_runs_for(base_dir: Path) -> None:
    (base_dir / "inner.light.yaml").write_text(STRAIGHT)
    outer = light(
        "begin -> sub -> end",
        begin="start",
        sub="sub_diagram, diagram_name: inner, diagram_format: light",
        end="endpoint",
    )
    async with traced(base_dir) as server:
        execution_id = await server.run(outer)
        await server.ended(execution_id)
        above = server.spans(execution_id)
        roots = [each for each in server.exporter.get_finished_spans() if each.name == "run"]
    [child] = [each for each in roots if place(each) != root_place(execution_id)]
    assert links(child) == [place(above["sub_diagram sub"])]


@pytest.mark.parametrize("type_", ["transform", "code_job"])
async def test_what_a_handler_does_is_part_of_its_visit(base_dir: Path, type_: str) -> None:
    seen: list[trace.SpanContext] = []

    async def looking(node: Any, ctx: Any) -> NodeOutput:
        seen.append(trace.get_current_span().get_span_context())
        return create_node_output({"default": "seen"})

    known = built_in_node_types()
    entry = known.get(type_)
    assert entry is not None
    others = filter(None, (known.get(each) for each in known.specs if each != type_))
    registry = HandlerRegistry([*others, replace(entry, handler=looking)]).freeze()
    code = ", language: python, code: '1'" if type_ == "code_job" else ""
    content = light("begin -> work -> end", begin="start", work=f"{type_}{code}", end="endpoint")
    async with traced(base_dir, registry=registry) as server:
        execution_id = await server.run(content)
        await server.ended(execution_id)
        spans = server.spans(execution_id)
    assert [(each.trace_id, each.span_id) for each in seen] == [place(spans[f"{type_} work"])]
    assert seen[0].trace_flags.sampled


@pytest.mark.parametrize("provider", [trace.ProxyTracerProvider(), trace.NoOpTracerProvider()])
def test_without_an_sdk_nothing_is_traced(provider: trace.TracerProvider) -> None:
    assert not is_configured(provider)


async def test_a_server_without_an_sdk_makes_no_spans(base_dir: Path) -> None:
    async with backend(Settings(base_dir=base_dir, store="memory:")) as services:
        assert services.tracer is None
