"""Writing native JSON, so that reading it again gives the same diagram."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.edge_fields import branch_data, written_fields
from dipeo_server.domains.diagram.formats.extras import with_unknown_fields
from dipeo_server.domains.diagram.formats.handles import BRANCHES, DIPEO_PORTS
from dipeo_server.domains.diagram.formats.json_values import check_levels
from dipeo_server.domains.diagram.formats.native import OWN_FIELDS, TITLES
from dipeo_server.domains.diagram.formats.native_arrows import ARROW_FIELDS, DIRECTIONS
from dipeo_server.domains.diagram.formats.native_nodes import DATA_FIELDS, NODE_FIELDS
from dipeo_server.domains.diagram.formats.native_persons import PERSON_FIELDS
from dipeo_server.domains.diagram.formats.native_sections import TYPENAME
from dipeo_server.domains.diagram.formats.node_names import (
    FreeNames,
    check_ends,
    metadata_with_names,
    unique_ids,
)
from dipeo_server.domains.diagram.formats.persons import written_settings
from dipeo_server.domains.diagram.formats.positions import written_position
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.spec import ONE_IN_ONE_OUT
from dipeo_server.errors import InvalidInput

Node = DomainNode[Mapping[str, Any]]

_SIDES: Final[Mapping[str, str]] = {"input": "left", "output": "right"}


def write_native(diagram: DomainDiagram) -> str:
    """The diagram as a native document. Unknown fields are kept, keys are in `metadata.keys`.

    Nodes, arrows, handles and persons are maps by id. Raises InvalidInput for an edge to no node,
    and for two edges or persons with one key.
    """
    check_ends(diagram)
    _check_keys("edges", [edge.key for edge in diagram.edges])
    _check_keys("persons", [person.key for person in diagram.persons])
    ids = unique_ids(diagram)
    handles = _Handles(diagram, ids)
    metadata = metadata_with_names(diagram, ids, are_labels=False, reserved=(TYPENAME,))
    document = {
        **_titles(diagram, metadata),
        "nodes": {ids[node.key]: _node(node) for node in diagram.nodes},
        "arrows": {edge.key: _arrow(edge, handles) for edge in diagram.edges},
        "handles": handles.written,
        "persons": {person.key: _person(person) for person in diagram.persons},
        "metadata": metadata,
    }
    whole = with_unknown_fields(document, diagram.extra, OWN_FIELDS)
    check_levels(whole)
    return json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _check_keys(what: str, keys: list[str]) -> None:
    if len(set(keys)) < len(keys):
        raise InvalidInput(f"Two {what} have one key, so they cannot be written as a map.")


def _titles(diagram: DomainDiagram, metadata: dict[str, Any]) -> dict[str, str | None]:
    """Puts name and description into the metadata; gives those that these have another use for."""
    beside: dict[str, str | None] = {}
    for title, value in zip(TITLES, (diagram.name, diagram.description), strict=True):
        if title in metadata and (value is not None or metadata[title] is not None):
            beside[title] = value
        elif value is not None:
            metadata[title] = value
    return beside


def _node(node: Node) -> dict[str, Any]:
    written: dict[str, Any] = {"type": node.type}
    if node.position is not None:
        written["position"] = written_position(node.position)
    direct = {name: value for name, value in node.props.items() if name not in DATA_FIELDS}
    written["data"] = {"label": node.label, **direct}
    if len(direct) < len(node.props):
        written["props"] = {name: node.props[name] for name in DATA_FIELDS & node.props.keys()}
    return with_unknown_fields(written, node.extra, NODE_FIELDS)


def _person(person: DomainPerson) -> dict[str, Any]:
    written = {"label": person.label, "type": "person", "llm_config": written_settings(person)}
    return with_unknown_fields(written, person.extra, PERSON_FIELDS | {*written_settings(person)})


def _arrow(edge: DomainEdge, handles: _Handles) -> dict[str, Any]:
    written = {
        "source": handles.id_of(edge.source, edge.source_handle, "source"),
        "target": handles.id_of(edge.target, edge.target_handle, "target"),
        **written_fields(edge),
    }
    data = branch_data(edge.source_handle, written.get("data"))
    return with_unknown_fields(written | ({"data": data} if data else {}), edge.extra, ARROW_FIELDS)


class _Handles:
    """The handles of all nodes: those of their types, and others that edges use."""

    def __init__(self, diagram: DomainDiagram, ids: Mapping[str, str]) -> None:
        self.written: dict[str, dict[str, str]] = {}
        self._node_ids = ids
        self._found: dict[tuple[str, str, str], str] = {}
        self._names = FreeNames()
        for node in diagram.nodes:
            ports = DIPEO_PORTS.get(node.type, ONE_IN_ONE_OUT)
            for name, labels in (("target", ports.inputs), ("source", ports.outputs)):
                for label in labels:
                    self.id_of(node.key, label, name)

    def id_of(self, node: str, label: str, name: str) -> str:
        """The id of the handle at that end, `source` or `target`, of an arrow."""
        found = self._found.get((node, label, name))
        if found is not None:
            return found
        node_id, direction = self._node_ids[node], DIRECTIONS[name]
        handle_id = self._names.take(f"{node_id}_{label}_{direction}")
        self._found[node, label, name] = handle_id
        self.written[handle_id] = {
            "node_id": node_id,
            "label": label,
            "direction": direction,
            "data_type": "boolean" if label in BRANCHES else "any",
            "position": _SIDES[direction],
        }
        return handle_id
