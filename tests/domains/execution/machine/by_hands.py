"""Stories in which people do what the machine would do."""

from __future__ import annotations

from typing import Any

from dipeo_server.domains.execution.signals import OutputGiven, RetryRequested, SkipRequested
from tests.builders import Story


class Hands(Story):
    """A story with people who do what the machine would do."""

    def retries(self, key: str) -> list[str]:
        return self.tell(RetryRequested(key, "ann"))

    def skips(self, key: str, reason: str | None = None) -> list[str]:
        return self.tell(SkipRequested(key, reason, "ann"))

    def sets(self, key: str, output: Any) -> list[str]:
        return self.tell(OutputGiven(key, output, "ann"))

    def inputs_of(self, key: str) -> list[Any]:
        refs = self.state.inputs[self.state.diagram.index_of[key]]
        return [ref.envelope.value_at(ref.port) for ref in refs]
