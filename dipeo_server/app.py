"""The composition root: store → runner → API → Starlette; the one module that knows every room."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from opentelemetry import trace
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from dipeo_server import __version__
from dipeo_server.api.context import ApiServices, ServerFacts
from dipeo_server.api.http import create_routes
from dipeo_server.api.metrics import ApiMetrics
from dipeo_server.api.persisted import read_manifest
from dipeo_server.domains.diagram.rendering.renderer import Renderer
from dipeo_server.domains.execution.expression import check_expression
from dipeo_server.domains.execution.ports import LanguageModels
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.errors import InvalidInput
from dipeo_server.node_types import node_types
from dipeo_server.runtime.access import AccessKeeper
from dipeo_server.runtime.child_loader import ChildLoader
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.graphviz import GraphvizRenderer
from dipeo_server.runtime.library import Library
from dipeo_server.runtime.llm import model_services_from_env
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.log_context import VisitsInLogs
from dipeo_server.runtime.observers import Observers, RunObserver
from dipeo_server.runtime.perform import ConcurrencyLimits
from dipeo_server.runtime.run_figures import RunFigures
from dipeo_server.runtime.runner_ports import RunnerPorts
from dipeo_server.runtime.secrets import SecretKeeper, secrets_from
from dipeo_server.runtime.tracing import Tracing, is_configured
from dipeo_server.settings import Settings
from dipeo_server.storage.opening import open_store

log = structlog.get_logger(__name__)

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - they are told apart, not listened on
"""Addresses that mean every address of this machine: no client calls it by these."""


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Names that clients may call the server by; None = any."""
    if "*" in settings.allowed_hosts:
        return None
    own = frozenset() if settings.host in WILDCARDS else frozenset({settings.host.lower()})
    return LOOPBACK_HOSTS | settings.allowed_hosts | own


def image_renderer() -> Renderer:
    """What draws images, if the program for it is installed."""
    return GraphvizRenderer()


class Telemetry:
    """What a server tells about itself: figures always, traces where somebody takes spans."""

    def __init__(self, spans: trace.TracerProvider) -> None:
        figures = CollectorRegistry()
        observers: list[RunObserver] = [RunFigures(figures), VisitsInLogs()]
        self.metrics = ApiMetrics(figures)
        self.tracer: trace.Tracer | None = None
        if is_configured(spans):
            observers.append(Tracing(spans, __version__))
            self.tracer = spans.get_tracer("dipeo_server.api", __version__)
        self.observers = Observers(observers)


@asynccontextmanager
async def backend(
    settings: Settings,
    registry: HandlerRegistry | None = None,
    *,
    spans: trace.TracerProvider | None = None,
) -> AsyncIterator[ApiServices]:
    """Everything behind the API, running; executions that had not ended go on.

    `spans` takes traces; None = the OpenTelemetry SDK of this process, if there is one.
    Raises StoreLocked, StorageError, InvalidInput.
    """
    known = registry or node_types()
    secrets = secrets_from(os.environ, settings.secrets_file)
    trusted = _trusted_documents(settings.trusted_documents)
    models = model_services_from_env({**secrets.of_environment(), **os.environ})
    store = await open_store(settings.store_url)
    ports = _ports(settings.base_dir, known, secrets, models)
    access: AccessKeeper | None = None
    limits = ConcurrencyLimits(settings.nodes_max, {"code_job": settings.code_jobs_max})
    telemetry = Telemetry(spans or trace.get_tracer_provider())
    runner = LocalRunner(store, known, ports, limits, observers=telemetry.observers)
    try:
        if settings.auth == "token":
            access = await AccessKeeper.open(store.access, ports.clock)
        recovered = await runner.recover()
        if recovered:
            log.info("executions_recovered", count=recovered)
        yield ApiServices(
            runner=runner,
            library=Library(store.diagrams, store, ports.clock),
            specs=known.specs,
            facts=ServerFacts(
                version=__version__,
                isolation=ports.code.isolation,
                store=settings.store_url.partition(":")[0],
            ),
            renderer=image_renderer(),
            now=ports.clock.now,
            check_expression=check_expression,
            limits=settings.limits,
            allowed_hosts=allowed_hosts(settings),
            allowed_origins=settings.allowed_origins,
            access=access,
            lets_starters_approve=settings.starters_approve,
            is_ready=lambda: not runner.is_closing,
            storage_problem=lambda: store.problem,
            trusted_documents=trusted,
            metrics=telemetry.metrics,
            tracer=telemetry.tracer,
        )
    finally:
        await runner.close()
        await models.close()
        if access is not None:
            await access.close()
        await store.close()


def _ports(
    base_dir: Path, known: HandlerRegistry, secrets: SecretKeeper, models: LanguageModels
) -> RunnerPorts:
    """What handlers may reach."""
    files = BaseDirFiles(base_dir)
    return RunnerPorts(
        clock=SystemClock(),
        files=files,
        code=ProcessCodeRunner(base_dir, files, clean=secrets.redactor.text),
        models=models,
        load_child=ChildLoader(files, known.specs, check_expression).load,
        secrets=secrets,
    )


def _trusted_documents(file: Path | None) -> Mapping[str, str] | None:
    if file is None:
        return None
    try:
        return read_manifest(file.read_bytes(), str(file))
    except OSError as error:
        message = f"The trusted documents cannot be read from {file}: {error.strerror}."
        raise InvalidInput(message) from error


def create_app(settings: Settings, registry: HandlerRegistry | None = None) -> Starlette:
    """The server as an ASGI application; its lifespan runs the back end."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with backend(settings, registry) as services:
            if services.access is not None and not services.access.all_tokens():
                log.warning("no_tokens_yet", hint="`dipeo-server tokens create` makes one")
            app.router.routes.extend(create_routes(services))
            yield

    return Starlette(lifespan=lifespan)
