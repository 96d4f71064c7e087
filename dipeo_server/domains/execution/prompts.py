"""Rendering a template of a node with its inputs and the execution's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.templates import build_context, render, render_path


def rendered(
    template: str,
    ctx: ExecutionContext,
    *,
    local: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> str:
    """The text; missing keys stay as written and are observed. Raises TemplateError if strict."""
    result = render(template, build_context(ctx.inputs, ctx.variables, local), strict=strict)
    observe_missing(ctx, result.missing)
    return result.text


def rendered_path(template: str, ctx: ExecutionContext) -> str:
    """A path with its `{x}` and `{{x}}` filled in; missing keys stay as written."""
    result = render_path(template, build_context(ctx.inputs, ctx.variables))
    observe_missing(ctx, result.missing)
    return result.text


def observe_missing(ctx: ExecutionContext, missing: tuple[str, ...]) -> None:
    """Tell of template keys that nothing was there for."""
    for key in missing:
        known = ", ".join(sorted([*ctx.inputs, *ctx.variables])) or "none"
        ctx.observe(
            "TEMPLATE_KEY_MISSING",
            f"Nothing is known as {key!r} in a template of {ctx.node.key!r}.",
            hint=f"Known names: {known}.",
        )
