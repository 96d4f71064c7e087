"""Where a run begins: its variables, and the data the diagram brings along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    Ports,
    create_node_output,
    node_handler,
)


class StartProps(NodeProps):
    """What a start node brings."""

    trigger_mode: Literal["none", "manual", "hook"] = Field(
        "none", description="manual: custom_data is part of the output."
    )
    custom_data: Mapping[str, Any] = Field(
        default_factory=dict, description="Values for the first nodes; they win over variables."
    )
    output_data_structure: Mapping[str, Any] = Field(
        default_factory=dict, description="A sketch of the output, for people."
    )
    hook_event: str | None = Field(None, description="The event that a hook start waits for.")
    hook_filters: Mapping[str, Any] = Field(
        default_factory=dict, description="What the event must carry."
    )

    @model_validator(mode="after")
    def _hook_has_event(self) -> StartProps:
        if self.trigger_mode == "hook" and not self.hook_event:
            raise ValueError("a start with trigger_mode: hook needs hook_event")
        return self


@node_handler("start", props=StartProps, ports=Ports(inputs=()), category="control", pure=True)
async def start(node: DomainNode[StartProps], ctx: ExecutionContext) -> NodeOutput:
    """Begin here: gives the execution's variables, and with `trigger_mode: manual` custom data."""
    is_manual = node.props.trigger_mode == "manual"
    data = node.props.custom_data if is_manual else {}
    return create_node_output({"default": {**ctx.variables, **data}})
