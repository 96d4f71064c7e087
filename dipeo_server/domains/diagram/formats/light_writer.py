"""Writing light YAML, so that reading it again gives the same diagram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dipeo_server.domains.diagram.formats.edge_fields import written_fields
from dipeo_server.domains.diagram.formats.extras import with_unknown_fields
from dipeo_server.domains.diagram.formats.light import OWN_FIELDS
from dipeo_server.domains.diagram.formats.light_edges import EDGE_FIELDS
from dipeo_server.domains.diagram.formats.light_endpoints import Endpoint, Labels
from dipeo_server.domains.diagram.formats.node_fields import (
    ALIASES,
    CAMEL_ON_EXPORT,
    said_props,
)
from dipeo_server.domains.diagram.formats.node_names import (
    check_ends,
    metadata_with_names,
    unique_labels,
)
from dipeo_server.domains.diagram.formats.persons import written_person
from dipeo_server.domains.diagram.formats.positions import written_position
from dipeo_server.domains.diagram.formats.yaml_writing import bags, heading, own_id, yaml_text
from dipeo_server.domains.diagram.model import DomainDiagram, DomainNode
from dipeo_server.errors import InvalidInput


def write_light(diagram: DomainDiagram) -> str:
    """The diagram as a light document. Unknown fields, keys and ids are kept, places are not.

    A label that several nodes share gets `~1`, `~2`. Raises InvalidInput for an edge to no node,
    and for a handle that would be read as part of a label.
    """
    check_ends(diagram)
    labels = unique_labels(diagram)
    document: dict[str, Any] = {"version": "light", **heading(diagram)}
    document["nodes"] = [
        _node(index, node, labels[node.key]) for index, node in enumerate(diagram.nodes)
    ]
    document["connections"] = list(_connections(diagram, labels))
    if diagram.persons:
        document["persons"] = {person.key: written_person(person) for person in diagram.persons}
    metadata = metadata_with_names(diagram, labels, are_labels=True)
    if metadata:
        document["metadata"] = metadata
    return yaml_text(with_unknown_fields(document, diagram.extra, OWN_FIELDS))


def _node(index: int, node: DomainNode[Mapping[str, Any]], label: str) -> dict[str, Any]:
    written: dict[str, Any] = {"label": label, "type": node.type, **own_id(index, node)}
    if node.position is not None:
        written["position"] = written_position(node.position)
    return written | bags(node, dict(_exported(node)))


def _exported(node: DomainNode[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    older = {new: old for old, new in ALIASES.get(node.type, {}).items()}
    older |= {new: old for old, new in CAMEL_ON_EXPORT.get(node.type, {}).items()}
    for name, value in said_props(node.type, node.props).items():
        old = older.get(name, name)
        yield (name if old in node.props else old), value


def _connections(diagram: DomainDiagram, labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    finder = Labels(labels.values())
    for index, edge in enumerate(diagram.edges):
        written: dict[str, Any] = {
            "from": _endpoint(finder, labels[edge.source], edge.source_handle),
            "to": _endpoint(finder, labels[edge.target], edge.target_handle),
        }
        if edge.key != f"arrow_{index}":
            written["key"] = edge.key
        own = EDGE_FIELDS if edge.content_type else EDGE_FIELDS | {"type"}
        yield with_unknown_fields(written | written_fields(edge), edge.extra, own)


def _endpoint(finder: Labels, label: str, handle: str) -> str:
    """The text that is read as this label and handle, whatever other labels there are."""
    if handle == "default":
        return label
    for text, is_strict in ((f"{label}[{handle}]", True), (f"{label}_{handle}", False)):
        if finder.find(text) == Endpoint(label, handle, is_strict):
            return text
    raise InvalidInput(
        f"The handle {handle!r} of {label!r} cannot be written in light: it reads as another node.",
        hint="Rename one of the two nodes.",
    )
