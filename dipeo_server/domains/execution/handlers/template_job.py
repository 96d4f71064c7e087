"""Render a template with the inputs, into the output and on request into a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import AliasChoices, Field, model_validator

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.expression import ExpressionError, evaluate
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.jinja import render_jinja
from dipeo_server.domains.execution.prompts import observe_missing
from dipeo_server.domains.execution.templates import build_context, render, render_path
from dipeo_server.errors import NodeError

_LONE_TAG: Final = re.compile(r"\{\{\s*([^{}#/]+?)\s*\}\}")


class PreprocessorRefused(NodeError):
    """A template_job names a function to be called first."""

    code = "PREPROCESSOR_UNAVAILABLE"
    default_hint = "Prepare the values in a code_job node in front of this one."


class TemplateJobProps(NodeProps):
    """The template, its engine, and where the text goes."""

    template_path: str | None = Field(
        None, description="File with the template; the path is a template with {x} itself."
    )
    template_content: str | None = Field(
        None,
        validation_alias=AliasChoices("template_content", "template"),
        description="The template; beats the file.",
    )
    output_path: str | None = Field(
        None, description="File to write the text to; a template with {x}."
    )
    variables: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Values for names that neither an input nor an execution variable has; "
        "texts in it are templates, and a lone {{name}} is the value itself.",
    )
    engine: Literal["internal", "jinja2"] = Field(
        "jinja2", description="internal: the templates of prompts; an unknown key stays."
    )
    preprocessor: Any = Field(None, description="Refused: user code does not run in the server.")
    strict: bool = Field(
        default=False, description="internal: a missing template key fails the node."
    )

    @model_validator(mode="after")
    def _has_template(self) -> TemplateJobProps:
        if not self.template_path and self.template_content is None:
            raise ValueError("it needs template_path or template_content")
        return self


@node_handler("template_job", props=TemplateJobProps, category="data", after_crash=AfterCrash.RERUN)
async def template_job(node: DomainNode[TemplateJobProps], ctx: ExecutionContext) -> NodeOutput:
    """Give the rendered text of a template, and write it to `output_path` if there is one.

    Templates know the inputs, the keys of a map on `default`, the execution's variables, the
    node's own `variables`, and the time as `generated_at` (`now`).
    """
    props = node.props
    if props.preprocessor:
        message = f"{node.key!r} has a preprocessor; user code does not run in the server."
        raise PreprocessorRefused(message)
    names = _names(props, ctx)
    meta: dict[str, Any] = {"engine": props.engine}
    template = props.template_content
    if template is None:
        meta["template_path"] = _path(props.template_path or "", names, ctx)
        template = await ctx.files.read_text(meta["template_path"])
    text = _rendered(template, names, props, ctx)
    if props.output_path:
        path = _path(props.output_path, names, ctx)
        meta["path"] = await ctx.files.write_text(path, text)
    return create_node_output({"default": text}, meta)


def _names(props: TemplateJobProps, ctx: ExecutionContext) -> dict[str, Any]:
    now = ctx.services.clock.now().isoformat()
    times = {"now": now, "generated_at": now}
    given = build_context(ctx.inputs, ctx.variables)
    own = {
        name: _filled_in(value, {**times, **given}, ctx) for name, value in props.variables.items()
    }
    return {**times, **own, **given, "local": own}


def _filled_in(value: Any, names: Mapping[str, Any], ctx: ExecutionContext) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled_in(item, names, ctx) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled_in(item, names, ctx) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    lone = _LONE_TAG.fullmatch(value.strip())
    if lone is not None:
        try:
            return names[lone[1]] if lone[1] in names else evaluate(lone[1], names)
        except ExpressionError:
            pass  # It is no expression, or nothing is there: the engine below says which.
    result = render(value, names)
    observe_missing(ctx, result.missing)
    return result.text


def _path(template: str, names: Mapping[str, Any], ctx: ExecutionContext) -> str:
    result = render_path(template, names)
    observe_missing(ctx, result.missing)
    return result.text


def _rendered(
    template: str, names: Mapping[str, Any], props: TemplateJobProps, ctx: ExecutionContext
) -> str:
    if props.engine == "jinja2":
        return render_jinja(template, names)
    result = render(template, names, strict=props.strict)
    observe_missing(ctx, result.missing)
    return result.text
