"""Reading readable YAML: nodes by name, and a flow that says what leads where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dipeo_server.domains.diagram.formats.extras import unknown_fields
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.node_names import keyed, labelled, told_names
from dipeo_server.domains.diagram.formats.readable_edges import read_edges
from dipeo_server.domains.diagram.formats.readable_links import read_links
from dipeo_server.domains.diagram.formats.readable_nodes import nodes_of, read_drafts
from dipeo_server.domains.diagram.formats.readable_persons import names_of, read_persons
from dipeo_server.domains.diagram.formats.source import Source, no_map
from dipeo_server.domains.diagram.formats.yaml_document import parse_yaml
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.diagram.spec import NodeSpec

OWN_FIELDS: Final = frozenset(
    {"$schema", "version", "name", "description", "persons", "nodes", "flow", "metadata"}
)
_NO_MAP: Final = "A readable document must be a map with `nodes` and `flow`."
_HINT: Final = "Begin with `version: readable`, then `nodes:` and `flow:`."


def read_readable(text: str, *, specs: Mapping[str, NodeSpec], path: str | None = None) -> Loaded:
    """The diagram in a readable document; everything that is wrong with the document, with places.

    A node without a type gets the one that its fields tell, or the flow around it. Only what can
    be seen while reading is reported here; `validate` judges the diagram.
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
    source.check_version("readable")
    persons = read_persons(source)
    drafts = read_drafts(source)
    links = read_links(source, drafts)
    nodes = nodes_of(
        source,
        drafts.values(),
        persons=names_of(persons),
        entered=frozenset(link.target.endpoint.label for link in links),
        left=frozenset(link.source.endpoint.label for link in links),
    )
    names = told_names(source.metadata(), {node.label for node in nodes})
    nodes = keyed(source, nodes, names.keys)
    return DomainDiagram(
        nodes=labelled(nodes, names.labels),
        edges=read_edges(source, links, nodes),
        persons=persons,
        name=source.text(raw, "name", ()),
        description=source.text(raw, "description", ()),
        format="readable",
        path=path,
        metadata=names.metadata,
        extra=unknown_fields(raw, OWN_FIELDS),
    )
