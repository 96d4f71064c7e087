"""Writing light YAML, so that reading it again gives the same diagram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.formats.edge_fields import branch_data
from dipeo_server.domains.diagram.formats.light_endpoints import Endpoint, Labels
from dipeo_server.domains.diagram.formats.light_nodes import NODE_FIELDS
from dipeo_server.domains.diagram.formats.node_fields import (
    ALIASES,
    CAMEL_ON_EXPORT,
    EMPTY_FIELDS,
)
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.errors import InvalidInput

_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_DUMPER):  # type: ignore[misc]  # the C class where there is one
    """Long texts as blocks, nothing as an alias."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _represent_text(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent_text)


def write_light(diagram: DomainDiagram) -> str:
    """The diagram as a light document. Unknown fields are kept, node ids and places are not.

    A label that several nodes share gets `~1`, `~2`. Raises InvalidInput for an edge to no node.
    """
    labels = _unique_labels(diagram)
    document: dict[str, Any] = {"version": "light"}
    document |= _present({"name": diagram.name, "description": diagram.description})
    document["nodes"] = [_node(node, labels[node.key]) for node in diagram.nodes]
    document["connections"] = list(_connections(diagram, labels))
    if diagram.persons:
        document["persons"] = {person.key: _person(person) for person in diagram.persons}
    if diagram.metadata:
        document["metadata"] = dict(diagram.metadata)
    document.update(diagram.extra)
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _unique_labels(diagram: DomainDiagram) -> dict[str, str]:
    """A label for each node key. In a light document the key is the label, so it is kept."""
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for node in diagram.nodes:
        label, count = node.label, 0
        while label in taken:
            count += 1
            label = f"{node.label}~{count}"
        taken.add(label)
        labels[node.key] = label
    return labels


# --- nodes and persons --------------------------------------------------------------------------


def _node(node: DomainNode[Mapping[str, Any]], label: str) -> dict[str, Any]:
    written: dict[str, Any] = {"label": label, "type": node.type}
    if node.position is not None:
        written["position"] = dict(zip("xy", map(_number, node.position), strict=True))
    written.update(node.extra)
    props = dict(_exported(node))
    hidden = {name: value for name, value in props.items() if name in NODE_FIELDS}
    if hidden:
        written["props"] = hidden
    written.update((name, value) for name, value in props.items() if name not in hidden)
    return written


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _exported(node: DomainNode[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    older = {new: old for old, new in ALIASES.get(node.type, {}).items()}
    older |= {new: old for old, new in CAMEL_ON_EXPORT.get(node.type, {}).items()}
    empty = EMPTY_FIELDS.get(node.type, ())
    for name, value in node.props.items():
        if name in empty and value == {}:
            continue
        old = older.get(name, name)
        yield (name if old in node.props else old), value


def _person(person: DomainPerson) -> dict[str, Any]:
    written = {
        "label": person.label if person.label != person.key else None,
        "service": person.service,
        "model": person.model,
        "api_key_id": person.api_key_id,
        "system_prompt": person.system_prompt,
        "prompt_file": person.prompt_file,
    }
    return _present(written) | dict(person.extra)


# --- connections --------------------------------------------------------------------------------


def _connections(diagram: DomainDiagram, labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    finder = Labels(labels.values())
    for index, edge in enumerate(diagram.edges):
        for end in (edge.source, edge.target):
            if end not in labels:
                raise InvalidInput(f"Edge {edge.key!r} names the unknown node {end!r}.")
        written: dict[str, Any] = {
            "from": _endpoint(finder, labels[edge.source], edge.source_handle),
            "to": _endpoint(finder, labels[edge.target], edge.target_handle),
        }
        if edge.key != f"arrow_{index}":
            written["key"] = edge.key
        yield written | _edge_fields(edge) | dict(edge.extra)


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


def _edge_fields(edge: DomainEdge) -> dict[str, Any]:
    data = _own_data(edge)
    from_data = (edge.data or {}).get("transform") == edge.transform
    written = {
        "label": edge.label,
        "content_type": edge.content_type,
        "kind": None if edge.kind is EdgeKind.ALWAYS and not edge.condition else edge.kind.value,
        "condition": edge.condition,
        "priority": edge.priority or None,
        "transform": None if from_data else edge.transform,
        "data": data or None,
    }
    return _present(written)


def _own_data(edge: DomainEdge) -> dict[str, Any]:
    """The data without what its source handle says anyway."""
    derived = branch_data(edge.source_handle, None)
    return {
        name: value
        for name, value in (edge.data or {}).items()
        if name not in derived or derived[name] != value
    }
