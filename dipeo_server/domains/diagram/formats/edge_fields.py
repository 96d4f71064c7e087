"""The fields of an edge that all formats share: kind, condition, priority, transform, branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.formats.content_types import CONTENT_TYPES, known_content_type
from dipeo_server.domains.diagram.formats.handles import BRANCHES
from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.model import DomainEdge
from dipeo_server.domains.diagram.nearest import listed

# Fields with a meaning of their own in every format.
FIELDS: Final = frozenset(
    {"label", "content_type", "data", "kind", "condition", "transform", "priority"}
)
# Called with the name of a field, a sentence about it, and a hint.
Complain = Callable[[str, str, str | None], None]


@dataclass(frozen=True, slots=True)
class EdgeFields:
    """What an edge says beside its two ends; `content_type` None = nothing said."""

    label: str | None
    content_type: str | None
    kind: EdgeKind
    condition: str | None
    priority: int
    transform: Mapping[str, Any] | None
    data: Mapping[str, Any] | None


def edge_fields(raw: Mapping[str, Any], source_handle: str, complain: Complain) -> EdgeFields:
    """The fields in `raw`; a field that is wrong is complained of and taken as absent.

    `data.contentType` and `data.transform` serve where there is no field of their own; a condition
    without a kind makes the edge a `when` edge.
    """
    data = _map(raw, "data", complain)
    condition = _text(raw, "condition", complain)
    return EdgeFields(
        label=_text(raw, "label", complain),
        content_type=_content_type(raw, data, complain),
        kind=_kind(raw, condition, complain),
        condition=condition,
        priority=_priority(raw, complain),
        transform=_map(raw, "transform", complain) or _data_transform(data),
        data=branch_data(source_handle, data) or None,
    )


def written_fields(edge: DomainEdge) -> dict[str, Any]:
    """What `edge_fields` reads as this edge; what goes without saying is left out."""
    from_data = (edge.data or {}).get("transform") == edge.transform
    is_usual = edge.kind is EdgeKind.ALWAYS and not edge.condition
    written = {
        "label": edge.label,
        "content_type": edge.content_type,
        "kind": None if is_usual else edge.kind.value,
        "condition": edge.condition,
        "priority": edge.priority or None,
        "transform": None if from_data else edge.transform,
        "data": _own_data(edge) or None,
    }
    return {name: value for name, value in written.items() if value is not None}


def _own_data(edge: DomainEdge) -> dict[str, Any]:
    """The data without what the source handle says anyway."""
    derived = branch_data(edge.source_handle, None)
    return {
        name: value
        for name, value in (edge.data or {}).items()
        if name not in derived or derived[name] != value
    }


def branch_data(source_handle: str, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """The data of an edge with what its source handle says about the branch."""
    branch = BRANCHES.get(source_handle)
    marks = {} if branch is None else {"branch": branch, "is_conditional": True}
    return {**(data or {}), **marks}


def _text(raw: Mapping[str, Any], name: str, complain: Complain) -> str | None:
    value = raw.get(name)
    found = as_text(value)
    if found is None and value is not None:
        complain(name, f"`{name}` must be a text", None)
    return found or None


def _map(raw: Mapping[str, Any], name: str, complain: Complain) -> Mapping[str, Any] | None:
    value = raw.get(name)
    if value is None or isinstance(value, dict):
        return value or None
    complain(name, f"`{name}` must be a map", None)
    return None


def _data_transform(data: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    transform = (data or {}).get("transform")
    return transform if isinstance(transform, dict) and transform else None


def _content_type(
    raw: Mapping[str, Any], data: Mapping[str, Any] | None, complain: Complain
) -> str | None:
    for bag, name in ((raw, "content_type"), (raw, "type"), (data or {}, "contentType")):
        written = bag.get(name)
        if written is None:
            continue
        known = known_content_type(written) if isinstance(written, str) else None
        if known is None:
            shown = repr(as_text(written) or type(written).__name__)
            hint = f"One of: {listed(CONTENT_TYPES)}."
            complain(name, f"{shown} is no content type", hint)
        return known
    return None


def _kind(raw: Mapping[str, Any], condition: str | None, complain: Complain) -> EdgeKind:
    written = raw.get("kind")
    if written is None:
        return EdgeKind.ALWAYS if condition is None else EdgeKind.WHEN
    try:
        return EdgeKind(str(written).lower())
    except ValueError:
        complain(
            "kind", f"{str(written)!r} is no kind of connection", f"One of: {listed(EdgeKind)}."
        )
        return EdgeKind.ALWAYS


def _priority(raw: Mapping[str, Any], complain: Complain) -> int:
    value = raw.get("priority")
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    complain("priority", "`priority` must be an integer", None)
    return 0
