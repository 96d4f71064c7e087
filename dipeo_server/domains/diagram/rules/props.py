"""The props of a node are what its type and the engine declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dipeo_server.domains.diagram.declared import declared_fields
from dipeo_server.domains.diagram.executable import JoinPolicy
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.diagram.node_settings import settings_of
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.view import ERROR, WARNING, Node, View, about_node
from dipeo_server.domains.diagram.spec import NodeSettings

# What DiPeO's editor leaves in its files, and notes to the reader: no prop of any type.
UI_FIELDS: Final = frozenset(
    {"flipped", "selected", "dragging", "width", "height", "color", "icon", "collapsed"}
    | {"description", "comment", "notes"}
)


def invalid_props(view: View) -> Iterator[DiagramProblem]:
    """INVALID_PROPS: one problem per field that its declaration refuses."""
    for node in view.nodes.values():
        for error in _errors(view, node):
            path = ".".join(str(step) for step in error["loc"])
            what = f"`{path}`: " if path else ""
            message = f"{node.label} ({node.type}): {what}{_reason(error)}."
            yield about_node(ERROR, "INVALID_PROPS", node, message)


def _errors(view: View, node: Node) -> Iterator[ErrorDetails]:
    """What the type refuses, then what the engine refuses and the type has not refused."""
    spec = view.spec(node)
    told = set()
    for error in _refused(node.props, spec.props) if spec is not None else ():
        told.add(error["loc"][:1])
        yield error
    try:
        settings_of(node, spec)
    except ValidationError as refusal:
        for error in _details(refusal):
            if error["loc"][:1] not in told:
                yield error


def _refused(props: Mapping[str, Any], model: type[BaseModel]) -> list[ErrorDetails]:
    try:
        model.model_validate(props)
    except ValidationError as refusal:
        return _details(refusal)
    return []


def _details(refusal: ValidationError) -> list[ErrorDetails]:
    # Without the input: it may be long, or secret.
    return refusal.errors(include_url=False, include_input=False, include_context=False)


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is no field"
        case "value_error":
            return error["msg"].removeprefix("Value error, ").rstrip(".")
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]


def unknown_prop(view: View) -> Iterator[DiagramProblem]:
    """UNKNOWN_PROP: a field that nobody reads, most likely misspelt."""
    for node in view.nodes.values():
        spec = view.spec(node)
        if spec is None or not spec.props.model_fields:
            continue
        known = declared_fields(spec.props) | declared_fields(NodeSettings)
        for name in node.props:
            if name not in known and name not in UI_FIELDS:
                message = f"{node.label}: nodes of type {node.type!r} have no field {name!r}."
                hint = did_you_mean(name, sorted(known))
                yield about_node(WARNING, "UNKNOWN_PROP", node, message, hint)


def k_out_of_range(view: View) -> Iterator[DiagramProblem]:
    """K_OUT_OF_RANGE: a node cannot wait for more edges than it has."""
    for key, settings in view.settings.items():
        count = len(view.incoming[key])
        if settings.join is JoinPolicy.K_OF_N and settings.k > count:
            message = f"{key!r} waits for k = {settings.k} of {count} incoming edges."
            hint = "Lower `k` or connect more edges."
            yield about_node(ERROR, "K_OUT_OF_RANGE", view.nodes[key], message, hint)
