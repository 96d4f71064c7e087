"""What the handlers of a runner may reach."""

from __future__ import annotations

from dataclasses import dataclass, field

from dipeo_server.domains.execution.ports import Clock, CodeRunner, Files, LanguageModels
from dipeo_server.runtime.secrets import SecretKeeper
from dipeo_server.runtime.sub_diagrams import LoadChild


@dataclass(frozen=True, slots=True)
class RunnerPorts:
    """What handlers may reach through the runner."""

    clock: Clock
    files: Files
    code: CodeRunner
    models: LanguageModels
    load_child: LoadChild
    secrets: SecretKeeper = field(default_factory=SecretKeeper)
