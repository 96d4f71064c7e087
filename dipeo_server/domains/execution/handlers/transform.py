"""Reshape a value by an ordered list of rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.inputs import passed_on
from dipeo_server.domains.execution.transformation import TRANSFORMATIONS, rules_of


class TransformProps(NodeProps):
    """The rules: a list of one-key maps, applied as listed, or a map, applied by precedence."""

    rules: list[Mapping[str, Any]] | Mapping[str, Any] = Field(
        default_factory=list,
        description="extract, wrap, map, template, json, expression; applied in order.",
    )


@node_handler("transform", props=TransformProps, category="data", pure=True)
async def transform(node: DomainNode[TransformProps], ctx: ExecutionContext) -> NodeOutput:
    """Give the input behind all rules; several inputs come as a map by name."""
    rules = rules_of(node.props.rules)
    value = TRANSFORMATIONS.apply(passed_on(ctx.inputs), rules)
    return create_node_output({"default": value}, {"transforms": [rule.name for rule in rules]})
