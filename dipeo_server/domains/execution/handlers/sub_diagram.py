"""Run another diagram as one node, once or for each item of a list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import AliasChoices, Field, model_validator

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.diagram.formats.detect import format_of_fields
from dipeo_server.domains.execution import ExecutionContext, ExecutionStatus
from dipeo_server.domains.execution.child_runs import failure_of, mapped, output_of
from dipeo_server.domains.execution.children import ChildResult, ChildRun
from dipeo_server.domains.execution.document_parts import PartMissing, value_at
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.prompts import rendered_path
from dipeo_server.errors import LimitExceeded, NodeError

BATCH_ITEMS_MAX: Final = 10_000

_FORMATS: Final[Mapping[str, str | None]] = {"json": "native", "yaml": None, "yml": None, "": None}


class SubDiagramFailed(NodeError):
    """A child execution failed or was aborted; `code` is that of its own error."""

    code = "CHILD_FAILED"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class SubDiagramProps(NodeProps):
    """Which diagram runs, with what, and what becomes of its result."""

    diagram_name: str | None = Field(
        None, description="Path of the diagram, with or without its suffix; a template with {x}."
    )
    diagram_data: Mapping[str, Any] | str | None = Field(
        None, description="The diagram itself; beats the name."
    )
    diagram_format: str | None = Field(
        None, description="light, native or readable; default: what it looks like."
    )
    input_mapping: Mapping[str, str] = Field(
        default_factory=dict, description="Child variable: name or path (a.b) of a value here."
    )
    output_mapping: Mapping[str, str] = Field(
        default_factory=dict, description="Name: endpoint of the child, or a path in its result."
    )
    pass_input_data: bool = Field(
        default=True,
        validation_alias=AliasChoices("pass_input_data", "passInputData"),
        description="Without input_mapping: whether the child gets the inputs as variables.",
    )
    batch: bool = Field(default=False, description="Run the diagram once for each item of a list.")
    batch_input_key: str = Field(
        "items",
        validation_alias=AliasChoices("batch_input_key", "batchInputKey"),
        description="The input, or the key of a map on `default`, that holds the items.",
    )
    batch_parallel: bool = Field(default=True, description="Several children at once.")
    max_concurrent: int = Field(10, ge=1, le=100, description="So many at once.")
    output_mode: Literal["pure_list", "rich_object"] = Field(
        "pure_list", description="Result of a batch: the list of results, or a map with figures."
    )
    result_key: str = Field("results", description="rich_object: where the results are.")
    ignore_if_sub: bool = Field(
        default=False,
        validation_alias=AliasChoices("ignore_if_sub", "ignoreIfSub"),
        description="Of older files: without effect.",
    )
    wait_for_completion: bool = Field(default=True, description="Of older files: always so.")
    isolate_conversation: bool = Field(default=False, description="Of older files: always so.")
    use_standard_execution: bool = Field(default=False, description="Of older files: always so.")

    @model_validator(mode="after")
    def _names_a_diagram(self) -> SubDiagramProps:
        if not self.diagram_name and not self.diagram_data:
            raise ValueError("it needs diagram_name or diagram_data")
        return self


@node_handler(
    "sub_diagram",
    props=SubDiagramProps,
    category="control",
    after_crash=AfterCrash.RERUN,
    holds_slot=False,
)
async def sub_diagram(node: DomainNode[SubDiagramProps], ctx: ExecutionContext) -> NodeOutput:
    """Run another diagram as a child execution; its endpoint's output is the result.

    Several endpoints give a map by node key, none the output of the last node. The child's
    variables are the mapped inputs, or the inputs themselves, a map on `default` spread. A child
    that fails or is aborted fails this node with the child's error. `timeout` is per attempt.

    With `batch` there is a child per item: a map is spread over its variables, anything else is
    its `default`; `_batch_index` and `_batch_total` and all other inputs are there too. The result
    is the list of results in the order of the items, without those that failed: these are
    observed errors, and if there is nothing else the node fails. `output_mode: rich_object` gives
    {total_items, successful, failed, results, errors} instead, whatever happened.
    """
    _warn(node, ctx)
    path, name = _named(node, ctx)
    if node.props.batch:
        return await _run_batch(node, ctx, path, name)
    child = _child(node, path, _variables(node, ctx))
    result = await ctx.services.sub_diagrams.run(child)
    ctx.spend(result.token_usage)
    output = _output(node, name, result)
    meta = {"child_execution_id": result.execution_id, "diagram": name}
    return create_node_output({"default": output}, meta)


def _warn(node: DomainNode[SubDiagramProps], ctx: ExecutionContext) -> None:
    ignored = {
        "ignore_if_sub: true": node.props.ignore_if_sub,
        "wait_for_completion: false": not node.props.wait_for_completion,
    }
    for setting, is_set in ignored.items():
        if is_set:
            ctx.observe("UNSUPPORTED_FIELD", f"{node.key!r}: {setting} is without effect here.")


def _named(node: DomainNode[SubDiagramProps], ctx: ExecutionContext) -> tuple[str | None, str]:
    """The child's path, unless it is written out in the node, and its name for messages."""
    if node.props.diagram_data:
        return None, "inline"
    path = rendered_path(node.props.diagram_name or "", ctx)
    return path, path


def _child(
    node: DomainNode[SubDiagramProps],
    path: str | None,
    variables: Mapping[str, Any],
    key: str = "",
) -> ChildRun:
    document = node.props.diagram_data if path is None else None
    written = (node.props.diagram_format or "").strip().lower()
    format_ = _FORMATS.get(written, written)
    return ChildRun(path, document, format_ or format_of_fields(document), variables, key)


# --- what the child gets


def _variables(node: DomainNode[SubDiagramProps], ctx: ExecutionContext) -> dict[str, Any]:
    if node.props.input_mapping:
        return _mapped(node, ctx)
    if not node.props.pass_input_data:
        return {}
    default = _structured(ctx.inputs.get("default"))
    while isinstance(default, dict) and default.keys() == {"default"}:
        default = _structured(default["default"])
    spread = default if isinstance(default, dict) else {}
    others = {name: value for name, value in ctx.inputs.items() if name != "default"}
    if default is not None and not spread:
        others["default"] = default
    return {**spread, **others}


def _mapped(node: DomainNode[SubDiagramProps], ctx: ExecutionContext) -> dict[str, Any]:
    return mapped(repr(node.key), node.props.input_mapping, ctx)


def _structured(value: Any) -> Any:
    """Of text the map or list in it: an edge without content type makes text of both."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


# --- what the child gave


def _output(node: DomainNode[SubDiagramProps], name: str, result: ChildResult) -> Any:
    """Raises SubDiagramFailed, and PartMissing for a mapping to what is not there."""
    if result.status is not ExecutionStatus.COMPLETED:
        raise _failure(name, result)
    plain = output_of(result)
    if not node.props.output_mapping:
        return plain
    by_endpoint = dict(result.outputs)
    return {
        target: _mapped_output(by_endpoint, plain, path)
        for target, path in node.props.output_mapping.items()
    }


def _mapped_output(by_endpoint: Mapping[str, Any], plain: Any, path: str) -> Any:
    for key, value in by_endpoint.items():
        if path == key:
            return value
        if path.startswith(f"{key}."):
            return value_at(value, path.removeprefix(f"{key}."))
    try:
        return value_at(plain, path)
    except PartMissing as missing:
        known = ", ".join(by_endpoint) or "none"
        message = f"output_mapping: {missing.message}"
        raise PartMissing(message, hint=f"Endpoints of the child: {known}.") from None


def _failure(name: str, result: ChildResult) -> SubDiagramFailed:
    code, message = failure_of(f"The sub-diagram {name!r}", result)
    return SubDiagramFailed(message, code=code)


# --- batches


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one item: its output, or the error."""

    index: int
    item: Any
    output: Any = None
    error: NodeError | None = None

    def as_error(self) -> dict[str, Any]:
        message, code = (self.error.message, self.error.code) if self.error else ("", "")
        return {"index": self.index, "error": message, "error_type": code, "item": self.item}


async def _run_batch(
    node: DomainNode[SubDiagramProps], ctx: ExecutionContext, path: str | None, name: str
) -> NodeOutput:
    items = _items(node, ctx)
    shared = _shared(node, ctx)
    children = [
        _child(node, path, {**shared, **_item_variables(items, index)}, str(index))
        for index in range(len(items))
    ]
    at_once = node.props.max_concurrent if node.props.batch_parallel else 1
    ended = await ctx.services.sub_diagrams.run_many(children, max_concurrent=at_once)
    for end in ended:
        if not isinstance(end, NodeError):
            ctx.spend(end.token_usage)
    outcomes = [_outcome(node, name, index, items[index], end) for index, end in enumerate(ended)]
    return _batch_output(node, ctx, name, outcomes)


def _items(node: DomainNode[SubDiagramProps], ctx: ExecutionContext) -> Sequence[Any]:
    """The list; anything else is one item, and where nothing is there is none."""
    key = node.props.batch_input_key
    default = _structured(ctx.inputs.get("default"))
    found = default if key == "default" else _structured(ctx.inputs.get(key))
    if found is None and isinstance(default, dict):
        found = _structured(default.get(key))
    if found is None:
        known = ", ".join(sorted({*ctx.inputs, *(default if isinstance(default, dict) else ())}))
        hint = f"There is: {known or 'nothing'}."
        ctx.observe("BATCH_EMPTY", f"{node.key!r}: there are no items as {key!r}.", hint=hint)
        return []
    items = found if isinstance(found, list) else [found]
    if len(items) > BATCH_ITEMS_MAX:
        limit = f"{BATCH_ITEMS_MAX:,}"
        raise LimitExceeded(f"{node.key!r}: a batch has at most {limit} items, not {len(items)}.")
    return items


def _shared(node: DomainNode[SubDiagramProps], ctx: ExecutionContext) -> dict[str, Any]:
    """What every child of the batch gets beside its item."""
    if node.props.input_mapping:
        return _mapped(node, ctx)
    left_out = {node.props.batch_input_key, "default"}
    passes = node.props.pass_input_data
    return {k: v for k, v in ctx.inputs.items() if passes and k not in left_out}


def _item_variables(items: Sequence[Any], index: int) -> dict[str, Any]:
    # A map is spread and not a variable `default` as well: variables win over inputs, so that name
    # would hide the `default` input of every node of the child.
    item = items[index]
    own = item if isinstance(item, dict) else {"default": item}
    return {**own, "_batch_index": index, "_batch_total": len(items)}


def _outcome(
    node: DomainNode[SubDiagramProps],
    name: str,
    index: int,
    item: Any,
    end: ChildResult | NodeError,
) -> _Outcome:
    if isinstance(end, NodeError):
        return _Outcome(index, item, error=end)
    try:
        return _Outcome(index, item, output=_output(node, name, end))
    except NodeError as error:
        return _Outcome(index, item, error=error)


def _batch_output(
    node: DomainNode[SubDiagramProps],
    ctx: ExecutionContext,
    name: str,
    outcomes: Sequence[_Outcome],
) -> NodeOutput:
    results = [outcome.output for outcome in outcomes if outcome.error is None]
    failures = [outcome for outcome in outcomes if outcome.error is not None]
    figures = {
        "total_items": len(outcomes),
        "successful": len(results),
        "failed": len(failures),
    }
    errors = [outcome.as_error() for outcome in failures]
    if node.props.output_mode == "rich_object":
        body = {**figures, node.props.result_key: results, "errors": errors}
        return create_node_output({"default": body}, {"diagram": name})
    for outcome, error in zip(failures, errors, strict=True):
        if not results:
            message = f"All {len(outcomes)} items failed, the first: {error['error']}"
            raise SubDiagramFailed(message, code=error["error_type"])
        where = f"{node.key!r}, item {outcome.index}"
        ctx.observe(error["error_type"], f"{where}: {error['error']}")
    return create_node_output({"default": results}, {**figures, "errors": errors, "diagram": name})
