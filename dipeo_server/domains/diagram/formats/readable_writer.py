"""Writing readable YAML, so that reading it again gives the same diagram.

Names carry the position, the fields the type, and the flow is told in clauses: the forms that
every reader of this format understands. Only a connection that has more to say becomes a map.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

from dipeo_server.domains.diagram.formats.edge_fields import written_fields
from dipeo_server.domains.diagram.formats.extras import with_unknown_fields
from dipeo_server.domains.diagram.formats.node_fields import said_props
from dipeo_server.domains.diagram.formats.node_names import (
    check_ends,
    metadata_with_names,
    unique_labels,
)
from dipeo_server.domains.diagram.formats.persons import written_person
from dipeo_server.domains.diagram.formats.readable import OWN_FIELDS
from dipeo_server.domains.diagram.formats.readable_edges import EDGE_FIELDS, SHORT_NAMES
from dipeo_server.domains.diagram.formats.readable_flow import written_clauses
from dipeo_server.domains.diagram.formats.readable_names import parse_name, written_name
from dipeo_server.domains.diagram.formats.readable_nodes import is_same_type
from dipeo_server.domains.diagram.formats.readable_persons import meant_person, names_of
from dipeo_server.domains.diagram.formats.yaml_writing import bags, heading, own_id, yaml_text
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode

Node = DomainNode[Mapping[str, Any]]


def write_readable(diagram: DomainDiagram) -> str:
    """The diagram as a readable document. Unknown fields, keys and ids are kept, places are not.

    A label that several nodes share gets `~1`, `~2`. Raises InvalidInput for an edge to no node,
    and for what is nested too deeply to be read.
    """
    check_ends(diagram)
    labels = unique_labels(diagram)
    persons = names_of(diagram.persons)
    document: dict[str, Any] = {"version": "readable", **heading(diagram)}
    if diagram.persons:
        document["persons"] = [{each.key: written_person(each)} for each in diagram.persons]
    document["nodes"] = [
        _node(index, node, labels[node.key], persons) for index, node in enumerate(diagram.nodes)
    ]
    document["flow"] = _flow(diagram, labels)
    metadata = metadata_with_names(diagram, labels, are_labels=True)
    if metadata:
        document["metadata"] = metadata
    return yaml_text(with_unknown_fields(document, diagram.extra, OWN_FIELDS))


def _node(
    index: int, node: Node, label: str, persons: Collection[str]
) -> dict[str, dict[str, Any]]:
    name = written_name(label, node.position)
    is_plain = parse_name(name, lambda word: is_same_type(word, node.type)).label == label
    fields: dict[str, Any] = {} if is_plain else {"label": label}
    fields |= {"type": node.type} | own_id(index, node)
    fields |= bags(node, said_props(node.type, node.props))
    person = fields.get("person")
    if meant_person(person, persons) != person:
        del fields["person"]
        fields["props"] = {**fields.get("props", {}), "person": person}
    return {name: fields}


def _flow(diagram: DomainDiagram, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """One item for each run of edges from one node: their order is the document's."""
    flow = []
    for source, edges in groupby(enumerate(diagram.edges), lambda pair: pair[1].source):
        every = [_destination(index, edge, labels[edge.target]) for index, edge in edges]
        flow.append({labels[source]: every[0] if len(every) == 1 else every})
    return flow


def _destination(index: int, edge: DomainEdge, target: str) -> str | dict[str, Any]:
    fields: dict[str, Any] = {}
    if edge.source_handle != "default":
        fields["from"] = edge.source_handle
    fields["to"] = target
    if edge.target_handle != "default":
        fields["in"] = edge.target_handle
    for name, value in written_fields(edge).items():
        fields[SHORT_NAMES.get(name, name)] = value
    if edge.key != f"arrow_{index}":
        fields["key"] = edge.key
    whole = with_unknown_fields(fields, edge.extra, EDGE_FIELDS)
    return written_clauses(whole) or whole
