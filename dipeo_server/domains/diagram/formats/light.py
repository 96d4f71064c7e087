"""Reading light YAML: nodes and connections by label, the way people write diagrams by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.light_edges import read_edges
from dipeo_server.domains.diagram.formats.light_nodes import read_nodes
from dipeo_server.domains.diagram.formats.light_persons import read_persons
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.source import Source
from dipeo_server.domains.diagram.formats.yaml_document import YamlDocument, parse_yaml
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec

_OWN_FIELDS: Final = frozenset(
    {"$schema", "version", "name", "description", "persons", "nodes", "connections", "metadata"}
)


def read_light(text: str, *, specs: Mapping[str, NodeSpec], path: str | None = None) -> Loaded:
    """The diagram in a light document; everything that is wrong with the document, with places.

    Only what can be seen while reading is reported here; `validate` judges the diagram.
    """
    try:
        document = parse_yaml(text)
    except DiagramInvalid as refusal:
        return Loaded(None, refusal.problems)
    if not isinstance(document.data, dict):
        return Loaded(None, (_no_map(document),))
    source = Source(document, specs)
    diagram = _diagram(source, path)
    return Loaded(diagram, source.findings.problems())


def _no_map(document: YamlDocument) -> DiagramProblem:
    return DiagramProblem(
        Severity.ERROR,
        "DOCUMENT_EMPTY" if document.data is None else "DOCUMENT_NOT_A_MAP",
        "The document is empty."
        if document.data is None
        else "A light document must be a map with `nodes` and `connections`.",
        hint="Begin with `version: light`, then `nodes:` and `connections:`.",
        location=document.root,
    )


def _diagram(source: Source, path: str | None) -> DomainDiagram:
    raw = source.document.data
    _check_version(source, raw)
    nodes = read_nodes(source)
    return DomainDiagram(
        nodes=nodes,
        edges=read_edges(source, nodes),
        persons=read_persons(source),
        name=source.text(raw, "name", ()),
        description=source.text(raw, "description", ()),
        format="light",
        path=path,
        metadata=_metadata(source, raw),
        extra={name: value for name, value in raw.items() if name not in _OWN_FIELDS},
    )


def _check_version(source: Source, raw: Mapping[str, Any]) -> None:
    version = raw.get("version")
    if version is not None and as_text(version) != "light":
        source.report(
            "FORMAT_VERSION",
            "The document is read as light, which is not what its `version` says.",
            at=("version",),
            hint="Write `version: light`.",
            severity=Severity.WARNING,
        )


def _metadata(source: Source, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = raw.get("metadata")
    if metadata is None or isinstance(metadata, dict):
        return metadata or {}
    source.report("INVALID_FIELD", "`metadata` must be a map.", at=("metadata",))
    return {}
