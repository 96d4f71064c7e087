"""Calls a handler as the engine does: checked props, one visit, real files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from dipeo_server.domains.diagram.executable import (
    AfterCrash,
    ExecutableDiagram,
    ExecutableNode,
    ExecutablePerson,
)
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.children import BranchEnd, ChildResult, ChildRun
from dipeo_server.domains.execution.context import ExecutionContext, Services, Visit
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.handlers import (
    barrier,
    condition,
    db,
    delay,
    endpoint,
    json_schema_validator,
    parallel,
    start,
    sub_diagram,
    template_job,
    transform,
    user_response,
)
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun
from dipeo_server.domains.execution.output import HandlerResult, NodeOutput
from dipeo_server.domains.execution.ports import LanguageModels
from dipeo_server.domains.execution.registry import Registration, declared
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import NodeError
from dipeo_server.runtime.files import BaseDirFiles

HANDLER_MODULES = (
    barrier,
    condition,
    db,
    delay,
    endpoint,
    json_schema_validator,
    parallel,
    start,
    sub_diagram,
    template_job,
    transform,
    user_response,
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def registration(type_: str) -> Registration:
    return declared()[type_]


def after_crash(type_: str, **props: Any) -> AfterCrash:
    """What a crash means for a node with these props."""
    spec = registration(type_).spec
    return spec.props.model_validate(props).crash_policy() or spec.after_crash


class Absent:
    """A port that nothing here may touch."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


class Noon:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOON

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s")


ABSENT: Any = cast("Any", Absent())
Behaviour = Callable[[ChildRun], ChildResult]


@dataclass
class Children:
    """Child executions that end at once, as `behaviour` says; it may raise NodeError."""

    behaviour: Behaviour
    started: list[ChildRun] = field(default_factory=list)
    at_once: int | None = None
    order: Sequence[int] = ()

    async def run(self, child: ChildRun) -> ChildResult:
        self.started.append(child)
        return self.behaviour(child)

    async def run_many(
        self, children: Sequence[ChildRun], *, max_concurrent: int
    ) -> list[ChildResult | NodeError]:
        self.at_once = max_concurrent
        ends: list[ChildResult | NodeError] = []
        for child in children:
            try:
                ends.append(await self.run(child))
            except NodeError as error:
                ends.append(error)
        return ends

    async def run_branches(
        self,
        branches: Sequence[ChildRun],
        tell: Callable[[int, BranchEnd], None],
        *,
        max_concurrent: int,
        is_fail_fast: bool,
    ) -> None:
        self.at_once = max_concurrent
        for index in self.order or range(len(branches)):
            try:
                end = BranchEnd(await self.run(branches[index]), branches[index].variables)
            except NodeError as error:
                end = BranchEnd(error)
            tell(index, end)
            if is_fail_fast and not end.is_good:
                return


def ended(
    status: ExecutionStatus = ExecutionStatus.COMPLETED,
    *,
    outputs: Mapping[str, Any] | None = None,
    last: Any = None,
    error: Mapping[str, Any] | None = None,
    **more: Any,
) -> ChildResult:
    return ChildResult(ExecutionID("exec_0_child"), status, outputs or {}, last, error, **more)


@dataclass
class Place:
    """Where handlers are called: a base directory, and what the execution holds."""

    base_dir: Path
    variables: Mapping[str, Any] = field(default_factory=dict)
    executed: Mapping[str, int] = field(default_factory=dict)
    envelopes: Mapping[str, Envelope] = field(default_factory=dict)
    children: Children | None = None
    models: LanguageModels = ABSENT
    persons: tuple[ExecutablePerson, ...] = ()
    diagram: ExecutableDiagram | None = None
    key: str = "Node"

    def context(self, type_: str, inputs: Mapping[str, Any]) -> ExecutionContext:
        alone = ExecutableNode(0, self.key, "node_0", type_, self.key, {})
        diagram = self.diagram or ExecutableDiagram((alone,), (), (), "", persons=self.persons)
        visit = Visit(
            node_run=NodeRun(self.key, self.executed.get(self.key, 0) + 1),
            node=diagram.get_node(self.key),
            inputs=inputs,
            input_envelopes=self.envelopes,
            services=Services(
                clock=Noon(),
                files=BaseDirFiles(self.base_dir),
                code=ABSENT,
                models=self.models,
                sub_diagrams=self.children or ABSENT,
                secrets=ABSENT,
            ),
            state_store=ABSENT,
            log=ABSENT,
            executed=self.executed,
        )
        return ExecutionContext(diagram, "exec_0_parent", variables=self.variables, visit=visit)

    async def visit(
        self, type_: str, inputs: Mapping[str, Any] | None = None, /, **props: Any
    ) -> tuple[HandlerResult, ExecutionContext]:
        entry = registration(type_)
        checked = entry.spec.props.model_validate(props)
        context = self.context(type_, inputs or {})
        node = DomainNode(self.key, self.key, type_, self.key, checked)
        return await entry.handler(node, context), context

    async def output(
        self, type_: str, inputs: Mapping[str, Any] | None = None, /, **props: Any
    ) -> NodeOutput:
        result, _ = await self.visit(type_, inputs, **props)
        assert isinstance(result, NodeOutput)
        return result

    async def value(
        self, type_: str, inputs: Mapping[str, Any] | None = None, /, **props: Any
    ) -> Any:
        """The handler's plain result, from its lone port `default`."""
        output = await self.output(type_, inputs, **props)
        assert list(output.value) == ["default"]
        return output.value["default"]

    async def observed(
        self, type_: str, inputs: Mapping[str, Any] | None = None, /, **props: Any
    ) -> list[str]:
        """Codes of what the handler observed."""
        _, context = await self.visit(type_, inputs, **props)
        return [failure.code for failure in context.observed]

    def write(self, name: str, text: str) -> None:
        path = self.base_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name: str) -> str:
        return (self.base_dir / name).read_text()
