"""Take one of two ways: by an expression, by what has run, or by a person's judgement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, model_validator

from dipeo_server.domains.diagram import DomainNode, ExecutableNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.expression import ExpressionError, evaluate
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    Ports,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.inputs import passed_on
from dipeo_server.domains.execution.person.judgement import judge
from dipeo_server.domains.execution.templates import build_context


class ConditionProps(NodeProps):
    """How to choose between condtrue and condfalse."""

    condition_type: Literal[
        "detect_max_iterations",
        "check_nodes_executed",
        "nodes_executed",
        "custom",
        "llm_decision",
    ] = "custom"
    expression: str | None = Field(None, description="For custom: an expression over the inputs.")
    node_indices: tuple[str, ...] = Field(
        (), description="For check_nodes_executed: the nodes that must have run."
    )
    person: str | None = Field(None, description="For llm_decision: who judges.")
    judge_by: str | None = Field(None, description="For llm_decision: the question; a template.")
    judge_by_file: str | None = Field(None, description="For llm_decision: a file with it.")
    memorize_to: str | None = Field("GOLDFISH", description="What the judge remembers.")
    at_most: int | None = Field(None, ge=1, le=500, description="At most so many messages.")
    expose_index_as: str | None = Field(
        None, description="Variable for how often this condition ran before."
    )
    errors_as_false: bool = Field(
        default=False, description="An expression that fails counts as false (older files)."
    )

    def writes(self, label: str) -> tuple[str, ...]:
        """The variable for the count."""
        del label
        return (self.expose_index_as,) if self.expose_index_as else ()

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> ConditionProps:
        if self.condition_type == "custom" and not (self.expression or "").strip():
            raise ValueError("condition_type: custom needs an expression")
        if self.condition_type == "llm_decision" and not (self.judge_by or self.judge_by_file):
            raise ValueError("condition_type: llm_decision needs judge_by or judge_by_file")
        return self


@node_handler(
    "condition",
    props=ConditionProps,
    ports=Ports(outputs=("condtrue", "condfalse")),
    category="control",
    after_crash=None,
    pure=True,
    branches=True,
)
async def condition(node: DomainNode[ConditionProps], ctx: ExecutionContext) -> NodeOutput:
    """Pass the inputs on at `condtrue` or at `condfalse`; the other port gets nothing."""
    props = node.props
    index = ctx.executed(node.key)
    if props.expose_index_as:
        ctx.put(props.expose_index_as, index)
    is_true, usage = await _decide(node, ctx)
    ctx.put(f"branch[{node.key}]", is_true)
    envelope = next(iter(ctx.input_envelopes.values()), None)
    kept = envelope.content_type if envelope is not None and len(ctx.inputs) == 1 else None
    return create_node_output(
        {"condtrue" if is_true else "condfalse": passed_on(ctx.inputs)},
        {"result": is_true, "index": index},
        content_type=kept,
        token_usage=usage,
    )


async def _decide(node: DomainNode[ConditionProps], ctx: ExecutionContext) -> tuple[bool, Any]:
    match node.props.condition_type:
        case "detect_max_iterations":
            return _all_at_limit(ctx), None
        case "check_nodes_executed" | "nodes_executed":
            return _have_run(node.props.node_indices, ctx), None
        case "custom":
            return _holds(node.props, ctx), None
        case "llm_decision":
            return await judge(node.props, ctx)


def _holds(props: ConditionProps, ctx: ExecutionContext) -> bool:
    names = build_context(ctx.inputs, ctx.variables)
    try:
        return bool(evaluate(props.expression or "", names))
    except ExpressionError as error:
        if not props.errors_as_false:
            raise
        ctx.observe(error.code, error.message, hint=error.hint)
        return False


def _all_at_limit(ctx: ExecutionContext) -> bool:
    """Have all person_jobs of this loop that ran at all reached their max_iteration?"""
    ran = [node for node in _own_loop(ctx) if node.type == "person_job" and ctx.executed(node.key)]
    return bool(ran) and all(ctx.executed(node.key) >= node.max_iteration for node in ran)


def _own_loop(ctx: ExecutionContext) -> Iterable[ExecutableNode]:
    """Every node of the condition's own loop (of the whole diagram, if it is in none)."""
    blocks = ctx.diagram.blocks
    pending = [] if ctx.node.block is None else [ctx.node.block]
    while pending:
        block = blocks[pending.pop()]
        pending.extend(block.children)
        yield from (ctx.diagram.nodes[index] for index in block.nodes)


def _have_run(wanted: tuple[str, ...], ctx: ExecutionContext) -> bool:
    """Have all these nodes (keys, labels or ids) run at least once?"""
    by_name = {
        name: node.key for node in ctx.diagram.nodes for name in (node.key, node.id, node.label)
    }
    return bool(wanted) and all(ctx.executed(by_name.get(name, name)) for name in wanted)
