"""A runner of a program's own: node types, ports and a store, without a server around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dipeo_server.domains.execution.expression import check_expression
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.runtime.child_loader import ChildLoader
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import model_services_from_env
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.runner_ports import RunnerPorts
from dipeo_server.runtime.secrets import VARIABLE_PREFIX, SecretKeeper, secrets_from
from dipeo_server.storage.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Hosting:
    """What a run of an executor is run with; a store that was not given lives in memory.

    `secrets` are the values of references `secret://name`, before those of the environment.
    """

    registry: HandlerRegistry
    store: StateStore = field(default_factory=MemoryStore)
    base_dir: Path = field(default_factory=Path)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @asynccontextmanager
    async def runner(self) -> AsyncIterator[LocalRunner]:
        """A runner over the store, which stays open."""
        files = BaseDirFiles(self.base_dir)
        models = model_services_from_env(os.environ)
        ports = RunnerPorts(
            clock=SystemClock(),
            files=files,
            code=ProcessCodeRunner(self.base_dir, files),
            models=models,
            load_child=ChildLoader(files, self.registry.specs, check_expression).load,
            secrets=_keeper(self.secrets),
        )
        runner = LocalRunner(self.store, self.registry, ports)
        try:
            yield runner
        finally:
            await runner.close()
            await models.close()


def _keeper(own: Mapping[str, str]) -> SecretKeeper:
    outer = secrets_from(os.environ, None).of_environment()
    return SecretKeeper(
        own, {name.removeprefix(VARIABLE_PREFIX): value for name, value in outer.items()}
    )
