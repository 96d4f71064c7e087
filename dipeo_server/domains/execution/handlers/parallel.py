"""Run several diagrams side by side as one node, and merge what they did to the variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.diagram.formats.detect import format_of_fields
from dipeo_server.domains.diagram.spec import Within
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.child_runs import failure_of, mapped, output_of
from dipeo_server.domains.execution.children import BranchEnd, ChildResult, ChildRun
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BranchCompleted,
    Failure,
    ParallelCompleted,
    ParallelStarted,
)
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.prompts import rendered_path
from dipeo_server.errors import NodeError


class BranchFailed(NodeError):
    """Branches failed or were aborted; `code` is that of the first of them."""

    code = "CHILD_FAILED"

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Branch(BaseModel):
    """One branch: the diagram it runs, and what that gets beside the variables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diagram_name: str | None = Field(
        None, description="Path of the diagram, with or without its suffix; a template with {x}."
    )
    diagram_data: Mapping[str, Any] | str | None = Field(
        None, description="The diagram itself, or its {nodes, connections}; beats the name."
    )
    input_mapping: Mapping[str, str] = Field(
        default_factory=dict, description="Variable of the branch: name or path of a value here."
    )

    @model_validator(mode="after")
    def _names_a_diagram(self) -> Branch:
        if not self.diagram_name and not self.diagram_data:
            raise ValueError("it needs diagram_name or diagram_data")
        return self


class ParallelProps(NodeProps):
    """Which diagrams run side by side, and what one failure does to the others."""

    branches: Mapping[str, Branch] = Field(
        min_length=1, max_length=100, description="A diagram by name of its branch, in order."
    )
    error_strategy: Literal["fail_fast", "collect", "collect_partial"] = Field(
        "fail_fast",
        description="A failure ends the others; or all end, and then the node fails; or the good "
        "ones are its result.",
    )
    max_concurrent: int = Field(100, ge=1, le=100, description="So many at once.")

    def branches_within(self) -> Mapping[str, Within]:
        """Those that are written out; of the others nothing is known before they run."""
        return {
            name: Within(branch.diagram_data, frozenset(branch.input_mapping))
            for name, branch in self.branches.items()
            if branch.diagram_data
        }


@node_handler(
    "parallel",
    props=ParallelProps,
    category="control",
    after_crash=AfterCrash.RERUN,
    holds_slot=False,
)
async def parallel(node: DomainNode[ParallelProps], ctx: ExecutionContext) -> NodeOutput:
    """Run several diagrams side by side; the result maps each branch to its output.

    Each branch is an execution of its own that begins with a copy of the variables, and with the
    values of its `input_mapping`, which stay its own. What it did to the others is merged when all
    have ended, by the reducer of each variable: what it added, its smallest, and so on. Two
    branches that change one variable whose reducer is not commutative fail the node (CONFLICT).

    `fail_fast`: the first branch that fails or is aborted fails the node, the others are aborted
    and awaited. `collect`: all run to their ends, then the node fails with all errors.
    `collect_partial`: the branches that completed are the result, the errors of the others are
    observed; the node fails only if none completed.
    """
    names = tuple(node.props.branches)
    group = _Group(ctx, names, ctx.services.clock.now())
    children = [_child(node, ctx, name, branch) for name, branch in node.props.branches.items()]
    ctx.tell_branch(ParallelStarted(ctx.node_run, names))
    await ctx.services.sub_diagrams.run_branches(
        children,
        group.tell,
        max_concurrent=node.props.max_concurrent,
        is_fail_fast=node.props.error_strategy == "fail_fast",
    )
    took = (ctx.services.clock.now() - group.began_at).total_seconds()
    ctx.tell_branch(ParallelCompleted(ctx.node_run, took))
    _check(node, ctx, group)
    return _result(node, ctx, group)


def _child(
    node: DomainNode[ParallelProps], ctx: ExecutionContext, name: str, branch: Branch
) -> ChildRun:
    path = None if branch.diagram_data else rendered_path(branch.diagram_name or "", ctx)
    document = branch.diagram_data if path is None else None
    own = mapped(f"{node.key!r}, branch {name!r}", branch.input_mapping, ctx)
    return ChildRun(
        path,
        document,
        format_of_fields(document),
        {**ctx.variables, **own},
        key=name,
        reducers=ctx.diagram.reducers,
    )


@dataclass(slots=True)
class _Group:
    """How the branches have ended so far, by their places; failures with when they happened."""

    ctx: ExecutionContext
    names: Sequence[str]
    began_at: datetime
    ends: dict[int, BranchEnd] = field(default_factory=dict)
    failures: dict[int, tuple[datetime, Failure]] = field(default_factory=dict)

    def tell(self, index: int, end: BranchEnd) -> None:
        """A branch has ended."""
        self.ends[index] = end
        if not isinstance(end.end, NodeError):
            self.ctx.spend(end.end.token_usage)
        began_at, ended_at = self._times(end)
        failure = None if end.is_good else _failure(self.ctx, self.names[index], end)
        if failure is not None:
            self.failures[index] = (ended_at, failure)
        took = (ended_at - began_at).total_seconds()
        told = BranchCompleted(self.ctx.node_run, self.names[index], took, failure)
        self.ctx.tell_branch(told)

    @property
    def in_order(self) -> list[Failure]:
        """The failures, the first one first; those of one moment as they were told."""
        return [failure for _, failure in sorted(self.failures.values(), key=lambda each: each[0])]

    def _times(self, end: BranchEnd) -> tuple[datetime, datetime]:
        now = self.ctx.services.clock.now()
        if isinstance(end.end, NodeError):
            return now, now
        return end.end.began_at or self.began_at, end.end.ended_at or now


def _failure(ctx: ExecutionContext, name: str, end: BranchEnd) -> Failure:
    if isinstance(end.end, NodeError):
        message = f"Branch {name!r} cannot run: {end.end.message}"
        return Failure(end.end.code, message, ctx.node_run.node, hint=end.end.hint)
    code, message = failure_of(f"Branch {name!r}", end.end)
    return Failure(code or BranchFailed.code, message, ctx.node_run.node)


def _check(node: DomainNode[ParallelProps], ctx: ExecutionContext, group: _Group) -> None:
    """Raises BranchFailed where the failures of branches are the node's."""
    failures = group.in_order
    if not failures:
        return
    first, strategy = failures[0], node.props.error_strategy
    if strategy == "fail_fast":
        raise BranchFailed(first.message, code=first.code, hint=first.hint)
    for failure in failures:
        ctx.observe(failure.code, failure.message, hint=failure.hint)
    if strategy == "collect" or len(failures) == len(group.names):
        told = " ".join(failure.message for failure in failures)
        message = f"{len(failures)} of {len(group.names)} branches of {node.key!r} failed: {told}"
        raise BranchFailed(message, code=first.code, hint=first.hint)


def _result(node: DomainNode[ParallelProps], ctx: ExecutionContext, group: _Group) -> NodeOutput:
    outputs: dict[str, Any] = {}
    executions: dict[str, str] = {}
    for index, name in enumerate(group.names):
        end = group.ends[index]
        if isinstance(end.end, NodeError) or not end.is_good:
            continue
        outputs[name] = output_of(end.end)
        executions[name] = end.end.execution_id
        ctx.deltas.append(_delta(name, node.props.branches[name], end.began_with, end.end))
    return create_node_output({"default": outputs}, {"child_execution_ids": executions})


def _delta(
    name: str, branch: Branch, began_with: Mapping[str, Any], result: ChildResult
) -> StateDelta:
    """What the branch did to the variables that it shares with the others."""
    before = _shared(branch, began_with)
    after = _shared(branch, result.variables)
    puts = {k: v for k, v in after.items() if k not in before or before[k] != v}
    deletes = tuple(key for key in before if key not in after)
    return StateDelta(puts, deletes, branch=name, before=before)


def _shared(branch: Branch, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Without the branch's own: what was mapped, and what its conditions note of themselves."""
    own = branch.input_mapping
    return {k: v for k, v in variables.items() if k not in own and not k.startswith("branch[")}
