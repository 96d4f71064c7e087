"""A real runner over a real store, for handlers that a test declares itself."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.execution.expression import check_expression
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.registry import HandlerRegistry, declared
from dipeo_server.node_types import node_types
from dipeo_server.runtime.child_loader import ChildLoader
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.runner_ports import RunnerPorts

node_types()  # So that the built-in types are declared beside those of the tests.


def compiled(
    text: str, types: Mapping[str, str], limits: Mapping[str, int] | None = None
) -> ExecutableDiagram:
    """`s -> a -> e` with a node type each (default: `begins`); `s` is the start."""
    links: list[tuple[str, str]] = []
    for chain in text.split(";"):
        stops = [stop.strip() for stop in chain.split("->")]
        links.extend(itertools.pairwise(stops))
    keys = list(dict.fromkeys(key for link in links for key in link))
    nodes = tuple(DomainNode(key, key, _type(key, types), key, _props(key, limits)) for key in keys)
    edges = tuple(DomainEdge(f"arrow_{n}", *link) for n, link in enumerate(links))
    registry = HandlerRegistry(declared().values())
    executable, _ = assemble(DomainDiagram(nodes, edges), registry.specs)
    return executable


def _type(key: str, types: Mapping[str, str]) -> str:
    return "start" if key == "s" else types.get(key, "begins")


def _props(key: str, limits: Mapping[str, int] | None) -> dict[str, Any]:
    return {"max_iteration": limits[key]} if limits and key in limits else {}


@asynccontextmanager
async def runner_on(store: StateStore, base_dir: Path) -> AsyncIterator[LocalRunner]:
    """A LocalRunner with every port real; closes the store at the end."""
    registry = HandlerRegistry(declared().values())
    files = BaseDirFiles(base_dir)
    models = ModelServices(base_urls={}, keys={})
    ports = RunnerPorts(
        clock=SystemClock(),
        files=files,
        code=ProcessCodeRunner(base_dir, files),
        models=models,
        load_child=ChildLoader(files, registry.specs, check_expression).load,
    )
    runner = LocalRunner(store, registry, ports)
    try:
        await runner.recover()
        yield runner
    finally:
        await runner.close()
        await models.close()
        await store.close()
