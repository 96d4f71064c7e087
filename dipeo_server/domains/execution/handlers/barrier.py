"""Wait for a person's approval."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext, WaitForPerson
from dipeo_server.domains.execution.barrier import schema_problem
from dipeo_server.domains.execution.handlers import NodeProps, Ports, node_handler
from dipeo_server.domains.execution.prompts import rendered


class BarrierProps(NodeProps):
    """Who is asked what, and what happens if nobody answers."""

    prompt: str = Field("", description="What the person is asked; a template.")
    timeout: float | None = Field(None, gt=0, description="Seconds; none = for ever.")
    default_action: Literal["approve", "reject", "skip"] = Field(
        "reject", description="What happens when the timeout passes."
    )
    answer_schema: Mapping[str, Any] | None = Field(
        None, description="JSON schema of the answer that goes with an approval."
    )
    name: str | None = Field(None, description="Variable for the decision; default: the label.")
    on_skip: Literal["block", "bypass"] = Field(
        "block", description="bypass: a skip goes on as if approved, without the approval."
    )
    strict: bool = Field(default=False, description="A missing template key fails the node.")

    def writes(self, label: str) -> tuple[str, ...]:
        """The variable for the decision."""
        return (self.name or variable_name(label),)

    @field_validator("answer_schema")
    @classmethod
    def _is_schema(cls, schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        problem = None if schema is None else schema_problem(schema)
        if problem is not None:
            raise ValueError(problem)
        return schema


@node_handler(
    "barrier",
    props=BarrierProps,
    ports=Ports(outputs=("default", "approved", "rejected", "skipped")),
    category="people",
    pure=True,
    branches=True,
)
async def barrier(node: DomainNode[BarrierProps], ctx: ExecutionContext) -> WaitForPerson:
    """Ask a person; `approved` and `default` fire on approval, `rejected`, `skipped` otherwise."""
    props = node.props
    return WaitForPerson(
        kind="approval",
        prompt=rendered(props.prompt, ctx, strict=props.strict) if props.prompt else node.label,
        answer_schema=props.answer_schema,
        timeout=props.timeout,
        default_action=props.default_action,
        variable=props.name or variable_name(node.label),
        bypass_on_skip=props.on_skip == "bypass",
    )


def variable_name(label: str) -> str:
    """The label in lower case, with `_` for what cannot be part of a name."""
    return re.sub(r"\W", "_", label.lower())
