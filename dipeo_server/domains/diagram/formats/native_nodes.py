"""The `nodes` of a native document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.extras import unknown_fields
from dipeo_server.domains.diagram.formats.handles import known_type
from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX
from dipeo_server.domains.diagram.formats.native_sections import (
    TYPENAME,
    Item,
    items,
    without_typename,
)
from dipeo_server.domains.diagram.formats.node_fields import normal_props
from dipeo_server.domains.diagram.formats.positions import read_position
from dipeo_server.domains.diagram.formats.source import Path, Source
from dipeo_server.domains.diagram.model import DomainNode

# Fields of a node itself. Props lie in `data`; in `props` those that `data` has another use for.
NODE_FIELDS: Final = frozenset({"id", "type", "position", "data", "props", TYPENAME})
# Fields of `data` that are no props.
DATA_FIELDS: Final = frozenset({"label"})

_HINT: Final = 'Give it an `"id"`; arrows refer to nodes by their id.'


def read_nodes(source: Source) -> dict[str, DomainNode[Mapping[str, Any]]]:
    """The nodes by id, those without a usable id left out; the key of each is its id."""
    nodes: dict[str, DomainNode[Mapping[str, Any]]] = {}
    for item in items(source, "nodes"):
        if item.id is None:
            message = f"Node {item.number + 1} has no id."
            source.report("MISSING_ID", message, at=item.at, hint=_HINT)
        elif item.id in nodes:
            message = f"Two nodes have the id {item.id!r}."
            source.report("DUPLICATE_KEY", message, at=(*item.at, "id"), node=item.id)
        else:
            nodes[item.id] = _node(source, item, item.id)
    return nodes


def _node(source: Source, item: Item, id_: str) -> DomainNode[Mapping[str, Any]]:
    raw = item.raw
    data = _map(source, raw, "data", id_, item.at)
    type_ = known_type(source.text(raw, "type", item.at) or "job", source.specs)
    label = _label(source, data, id_, item.at)
    props = normal_props(
        type_,
        (
            _map(source, raw, "props", id_, item.at),
            {name: value for name, value in data.items() if name not in DATA_FIELDS},
        ),
        source.specs.get(type_),
        lambda fault: source.report("INVALID_FIELD", f"{label}: {fault}.", at=item.at, node=id_),
    )
    return DomainNode(
        key=id_,
        id=id_,
        type=type_,
        label=label,
        props=props,
        position=_position(source, raw, id_, item.at),
        location=source.document.location(*item.at),
        extra=unknown_fields(raw, NODE_FIELDS),
    )


def _map(source: Source, raw: Mapping[str, Any], name: str, id_: str, at: Path) -> dict[str, Any]:
    value = raw.get(name)
    if value is None or isinstance(value, dict):
        return value or {}
    message = f"{id_}: `{name}` must be a map."
    source.report("INVALID_FIELD", message, at=(*at, name), node=id_)
    return {}


def _label(source: Source, data: Mapping[str, Any], id_: str, at: Path) -> str:
    label = source.text(data, "label", (*at, "data")) or id_
    if len(label) <= LABEL_CHARACTERS_MAX:
        return label
    message = f"A label has more than {LABEL_CHARACTERS_MAX} characters."
    source.report("LABEL_TOO_LONG", message, at=(*at, "data", "label"), node=id_)
    return id_


def _position(source: Source, raw: Mapping[str, Any], id_: str, at: Path) -> tuple[float, float]:
    position = raw.get("position")
    plain = without_typename(position) if isinstance(position, dict) else position
    return read_position(source, plain, id_, (*at, "position"))
