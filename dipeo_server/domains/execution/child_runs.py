"""What nodes that run other diagrams share: what a child is, what it gets, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dipeo_server.domains.execution.children import ChildResult
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.document_parts import PartMissing, value_at
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.domains.execution.templates import build_context


def mapped(place: str, mapping: Mapping[str, str], ctx: ExecutionContext) -> dict[str, Any]:
    """The variables that an `input_mapping` gives a child. Raises PartMissing, naming `place`."""
    names = build_context(ctx.inputs, ctx.variables)
    try:
        return {name: value_at(names, path) for name, path in mapping.items()}
    except PartMissing as missing:
        known = ", ".join(sorted(ctx.inputs)) or "none"
        message = f"{place}: input_mapping: {missing.message}"
        raise PartMissing(message, hint=missing.hint or f"Inputs: {known}.") from None


def output_of(result: ChildResult) -> Any:
    """Its endpoint's output; several as a map by node key, none: that of the last node."""
    if not result.outputs:
        return result.last
    if len(result.outputs) == 1:
        return next(iter(result.outputs.values()))
    return dict(result.outputs)


def failure_of(what: str, result: ChildResult) -> tuple[str | None, str]:
    """Code and message of a child that did not complete; `what` it is, for the message."""
    error = result.error or {}
    is_aborted = result.status is ExecutionStatus.ABORTED
    code = error.get("code") or ("CANCELLED" if is_aborted else None)
    at = f" at {error['node']!r}" if error.get("node") else ""
    how = f"{'was aborted' if is_aborted else 'failed'}{at}"
    why = f": {error['message']}" if error.get("message") else "."
    return code, f"{what} ({result.execution_id}) {how}{why}"
