"""Wait for some time; the deadline survives a restart."""

from __future__ import annotations

from pydantic import Field

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext, WaitUntil
from dipeo_server.domains.execution.handlers import NodeProps, create_node_output, node_handler
from dipeo_server.domains.execution.inputs import passed_on


class DelayProps(NodeProps):
    """How long to wait."""

    seconds: float = Field(ge=0, le=31_536_000, description="How long to wait.")


@node_handler("delay", props=DelayProps, category="control", pure=True)
async def delay(node: DomainNode[DelayProps], ctx: ExecutionContext) -> WaitUntil:
    """Pass the inputs on after some seconds."""
    return WaitUntil(node.props.seconds, create_node_output({"default": passed_on(ctx.inputs)}))
