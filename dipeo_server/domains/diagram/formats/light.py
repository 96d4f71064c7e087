"""Reading light YAML: nodes and connections by label, the way people write diagrams by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dipeo_server.domains.diagram.formats.extras import unknown_fields
from dipeo_server.domains.diagram.formats.light_edges import read_edges
from dipeo_server.domains.diagram.formats.light_nodes import read_nodes
from dipeo_server.domains.diagram.formats.light_persons import read_persons
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.node_names import keyed, labelled, told_names
from dipeo_server.domains.diagram.formats.source import Source, no_map
from dipeo_server.domains.diagram.formats.yaml_document import parse_yaml
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.diagram.spec import NodeSpec

OWN_FIELDS: Final = frozenset(
    {"$schema", "version", "name", "description", "persons", "nodes", "connections", "metadata"}
)
_NO_MAP: Final = "A light document must be a map with `nodes` and `connections`."
_HINT: Final = "Begin with `version: light`, then `nodes:` and `connections:`."


def read_light(text: str, *, specs: Mapping[str, NodeSpec], path: str | None = None) -> Loaded:
    """The diagram in a light document; everything that is wrong with the document, with places.

    Only what can be seen while reading is reported here; `validate` judges the diagram.
    """
    try:
        document = parse_yaml(text)
    except DiagramInvalid as refusal:
        return Loaded(None, refusal.problems)
    if not isinstance(document.data, dict):
        return Loaded(None, (no_map(document, _NO_MAP, _HINT),))
    source = Source(document, specs)
    diagram = _diagram(source, path)
    return Loaded(diagram, source.findings.problems())


def _diagram(source: Source, path: str | None) -> DomainDiagram:
    raw = source.document.data
    source.check_version("light")
    nodes = read_nodes(source)
    names = told_names(source.metadata(), {node.label for node in nodes})
    nodes = keyed(source, nodes, names.keys)
    return DomainDiagram(
        nodes=labelled(nodes, names.labels),
        edges=read_edges(source, nodes),
        persons=read_persons(source),
        name=source.text(raw, "name", ()),
        description=source.text(raw, "description", ()),
        format="light",
        path=path,
        metadata=names.metadata,
        extra=unknown_fields(raw, OWN_FIELDS),
    )
