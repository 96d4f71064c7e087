"""The `nodes` of a light document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.extras import EXTRA, unknown_fields
from dipeo_server.domains.diagram.formats.handles import known_type
from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX
from dipeo_server.domains.diagram.formats.node_fields import normal_props
from dipeo_server.domains.diagram.formats.node_names import with_written_ids
from dipeo_server.domains.diagram.formats.positions import read_position
from dipeo_server.domains.diagram.formats.source import Path, Source
from dipeo_server.domains.diagram.model import DomainNode

# Fields of a node itself; everything else beside them is one of its props.
NODE_FIELDS: Final = frozenset({"label", "type", "position", "props", "id", EXTRA})

_HINT: Final = "Write it as `- label: Name` with `type:` and the node's fields below."


def read_nodes(source: Source) -> tuple[DomainNode[Mapping[str, Any]], ...]:
    """The nodes, those without a usable label left out; keys are their labels.

    Ids are those that are written, else node_0… by place in the list.
    """
    nodes: dict[str, DomainNode[Mapping[str, Any]]] = {}
    ids: dict[str, object] = {}
    for index, raw in source.maps("nodes", _HINT):
        at: Path = ("nodes", index)
        label = _label(source, raw, at)
        if label is None:
            continue
        first = nodes.get(label)
        if first is None:
            nodes[label] = node_of(source, raw, label, at)
            ids[label] = raw.get("id")
        else:
            _report_duplicate(source, first, at)
    return with_written_ids((node, ids[label]) for label, node in nodes.items())


def _label(source: Source, raw: Mapping[str, Any], at: Path) -> str | None:
    label = source.text(raw, "label", at)
    if label is None and not isinstance(raw.get("label"), dict | list):
        source.report(
            "MISSING_LABEL",
            f"Node {int(at[1]) + 1} has no label.",
            at=at,
            hint="Give it a `label:`; connections refer to nodes by their label.",
        )
    if label is not None and len(label) > LABEL_CHARACTERS_MAX:
        message = f"A label has more than {LABEL_CHARACTERS_MAX} characters."
        source.report("LABEL_TOO_LONG", message, at=(*at, "label"))
        return None
    return label


def _report_duplicate(source: Source, first: DomainNode[Mapping[str, Any]], at: Path) -> None:
    here = source.document.location(*at, "label")
    before = first.location.line if first.location else "?"
    source.report(
        "DUPLICATE_LABEL",
        f"Two nodes have the label {first.label!r}: in line {before} and in line {here.line}.",
        at=(*at, "label"),
        node=first.key,
        hint="Rename one of them, and the connections that mean it.",
    )


def node_of(
    source: Source, raw: Mapping[str, Any], label: str, at: Path
) -> DomainNode[Mapping[str, Any]]:
    """The node with that label and these fields, those of NODE_FIELDS and props, read at a place.

    Its id is that of its place in the list, whatever is written.
    `at` begins with the name of the section and the node's number in it.
    """
    type_ = known_type(source.text(raw, "type", at) or "job", source.specs)
    props = normal_props(
        type_,
        (_props_field(source, raw, label, at), _direct_fields(raw)),
        source.specs.get(type_),
        lambda fault: source.report("INVALID_FIELD", f"{label}: {fault}.", at=at, node=label),
    )
    return DomainNode(
        key=label,
        id=f"node_{at[1]}",
        type=type_,
        label=label,
        props=props,
        position=read_position(source, raw.get("position"), label, (*at, "position")),
        location=source.document.location(*at),
        extra=_extra(raw),
    )


def _extra(raw: Mapping[str, Any]) -> dict[str, Any]:
    return unknown_fields({EXTRA: raw[EXTRA]} if raw.get(EXTRA) is not None else {}, ())


def _direct_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name not in NODE_FIELDS}


def _props_field(source: Source, raw: Mapping[str, Any], label: str, at: Path) -> Mapping[str, Any]:
    props = raw.get("props")
    if props is None or isinstance(props, dict):
        return props or {}
    source.report(
        "INVALID_FIELD", f"{label}: `props` must be a map.", at=(*at, "props"), node=label
    )
    return {}
