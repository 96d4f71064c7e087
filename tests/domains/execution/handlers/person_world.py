"""A diagram with one person_job, and what tests of persons share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dipeo_server.domains.diagram.executable import (
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
    ExecutablePerson,
)
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.context import ExecutionContext, Services, Visit
from dipeo_server.domains.execution.handlers.person_job import PersonJobProps, person_job
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.output import Message, NodeOutput
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.testing.stub_model import StubModel

ANN = ExecutablePerson("ann", "Ann", "echo", "echo-1", system_prompt="You are Ann.")
BOB = ExecutablePerson("person_2", "Bob", "echo", "echo-1")
TALK = (
    Message("Ask#1.0", "system", "ann", "first question"),
    Message("Ask#1.1", "ann", "system", "first answer"),
    Message("Other#1.0", "system", "person_2", "for Bob"),
    Message("Other#1.1", "person_2", "system", "from Bob"),
)


class Absent:
    """A port that nothing here may touch."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


@dataclass
class World:
    """One person_job in a diagram, ready to be run."""

    files: BaseDirFiles
    models: ModelServices
    persons: tuple[ExecutablePerson, ...] = (ANN, BOB)
    path: str | None = "projects/demo/talk.light.yaml"
    conversation: tuple[Message, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    runs_before: int = 0
    edge_content_type: str | None = None
    logged: list[tuple[str, str]] = field(default_factory=list)

    def log(self, stream: str, text: str, *, level: str = "INFO") -> None:
        assert level == "INFO"
        self.logged.append((stream, text))

    def context(self, inputs: Mapping[str, Any]) -> ExecutionContext:
        node = ExecutableNode(0, "Ask", "node_0", "person_job", "Ask", {}, outgoing=(0,))
        end = ExecutableNode(1, "End", "node_1", "endpoint", "End", {}, incoming=(0,))
        edge = ExecutableEdge(
            0, "a", 0, "default", 1, "default", "default", content_type=self.edge_content_type
        )
        diagram = ExecutableDiagram(
            (node, end), (edge,), (), "hash", path=self.path, persons=self.persons
        )
        absent = cast("Any", Absent())
        visit = Visit(
            node_run=NodeRun("Ask", self.runs_before + 1),
            node=node,
            inputs=inputs,
            input_envelopes={},
            services=Services(absent, self.files, absent, self.models, absent, absent),
            state_store=absent,
            log=self.log,
            executed={"Ask": self.runs_before},
            conversation=self.conversation,
        )
        return ExecutionContext(diagram, "exec_0_x", variables=self.variables, visit=visit)

    async def run(
        self, inputs: Mapping[str, Any] | None = None, /, **props: Any
    ) -> tuple[NodeOutput, ExecutionContext]:
        context = self.context(inputs or {})
        checked = PersonJobProps.model_validate({"person": "ann", **props})
        node = DomainNode("Ask", "node_0", "person_job", "Ask", checked)
        output = await person_job(node, context)
        assert isinstance(output, NodeOutput)
        return output, context

    async def answer(self, inputs: Mapping[str, Any] | None = None, /, **props: Any) -> Any:
        return (await self.run(inputs, **props))[0].value["default"]


Point = Callable[[StubModel], World]
"""Gives a world whose persons are played by the stub."""


def sent(stub: StubModel, number: int = 0) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in stub.requests[number]["messages"]]


def write(base_dir: Path, name: str, text: str) -> None:
    path = base_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def observed(context: ExecutionContext) -> list[str]:
    return [failure.code for failure in context.observed]
