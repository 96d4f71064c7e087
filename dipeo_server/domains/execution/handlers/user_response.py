"""Ask a person a question; the answer is the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext, WaitForPerson
from dipeo_server.domains.execution.barrier import answer_misfit, schema_problem
from dipeo_server.domains.execution.handlers import NodeProps, node_handler
from dipeo_server.domains.execution.prompts import rendered


class UserResponseProps(NodeProps):
    """The question, and how long an answer is waited for."""

    prompt: str = Field("", description="The question; a template.")
    timeout: float | None = Field(60.0, gt=0, description="Seconds; none = for ever.")
    default_answer: Any = Field(None, description="Taken when nobody answers in time.")
    answer_schema: Mapping[str, Any] | None = Field(None, description="JSON schema of the answer.")
    strict: bool = Field(default=False, description="A missing template key fails the node.")

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.answer_schema is None:
            return self
        problem = schema_problem(self.answer_schema)
        if problem is not None:
            raise ValueError(f"answer_schema is {problem}")
        if self.default_answer is not None:
            misfit = answer_misfit(self.answer_schema, self.default_answer)
            if misfit is not None:
                raise ValueError(f"default_answer: {misfit}")
        return self


@node_handler("user_response", props=UserResponseProps, category="people", pure=True)
async def user_response(
    node: DomainNode[UserResponseProps], ctx: ExecutionContext
) -> WaitForPerson:
    """Wait for a person's answer; without one in time the node fails with ANSWER_TIMEOUT."""
    props = node.props
    return WaitForPerson(
        kind="answer",
        prompt=rendered(props.prompt, ctx, strict=props.strict) if props.prompt else node.label,
        answer_schema=props.answer_schema,
        timeout=props.timeout,
        default_action="answer",
        default_answer=props.default_answer,
    )
