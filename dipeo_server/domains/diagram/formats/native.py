"""Reading native JSON: nodes, arrows, handles and persons by id, the way editors save diagrams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.extras import unknown_fields
from dipeo_server.domains.diagram.formats.json_document import parse_json
from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.native_arrows import read_arrows
from dipeo_server.domains.diagram.formats.native_nodes import read_nodes
from dipeo_server.domains.diagram.formats.native_persons import read_persons
from dipeo_server.domains.diagram.formats.native_sections import TYPENAME, without_typename
from dipeo_server.domains.diagram.formats.node_names import KEYS, keyed, told_names
from dipeo_server.domains.diagram.formats.source import Source, no_map
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.diagram.spec import NodeSpec

# What the document says of itself; one of these in the metadata serves where there is none here.
TITLES: Final = ("name", "description")
OWN_FIELDS: Final = frozenset(
    {"nodes", "arrows", "handles", "persons", "metadata", "version", TYPENAME, *TITLES}
)

_NO_MAP: Final = "A native document must be a map with `nodes` and `arrows`."
_HINT: Final = 'Begin with {"nodes": …, "arrows": …}.'


def read_native(text: str, *, specs: Mapping[str, NodeSpec], path: str | None = None) -> Loaded:
    """The diagram in a native document; everything that is wrong with the document, with places.

    `nodes`, `arrows`, `handles` and `persons` are lists, or maps by id; what a server puts in as
    `__typename` is dropped. An arrow whose node is not there (UNKNOWN_NODE) or whose node's type
    has no such handle (UNKNOWN_HANDLE) is an ERROR, as in a light document: without the arrow the
    diagram would run otherwise than drawn. Handles of absent nodes that no arrow uses are a
    WARNING. The rest of the diagram is read all the same, so that `validate` can judge it.
    """
    try:
        document = parse_json(text)
    except DiagramInvalid as refusal:
        return Loaded(None, refusal.problems)
    if not isinstance(document.data, dict):
        return Loaded(None, (no_map(document, _NO_MAP, _HINT),))
    source = Source(document, specs)
    diagram = _diagram(source, path)
    return Loaded(diagram, source.findings.problems())


def _diagram(source: Source, path: str | None) -> DomainDiagram:
    raw = source.document.data
    by_id = read_nodes(source)
    names = told_names(without_typename(source.metadata()), by_id, (KEYS,))
    nodes = keyed(source, tuple(by_id.values()), names.keys)
    titles, metadata = _titles(source, raw, names.metadata)
    return DomainDiagram(
        nodes=nodes,
        edges=read_arrows(source, nodes),
        persons=read_persons(source),
        name=titles["name"],
        description=titles["description"],
        format="native",
        path=path,
        metadata=metadata,
        extra=_extra(source, raw),
    )


def _titles(
    source: Source, raw: Mapping[str, Any], metadata: Mapping[str, Any]
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Name and description, and the metadata without what was taken from them."""
    titles: dict[str, str | None] = {}
    rest = dict(metadata)
    for title in TITLES:
        if title in raw:
            titles[title] = source.text(raw, title, ())
        else:
            titles[title] = as_text(metadata.get(title)) or None
            if titles[title] is not None:
                del rest[title]
    return titles, rest


def _extra(source: Source, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Unknown fields. A `version` is that of the format, or of whatever wrote the document."""
    version = raw.get("version")
    if version in ("light", "readable", "native"):
        source.check_version("native")
    elif version is not None:
        return unknown_fields(raw, OWN_FIELDS - {"version"})
    return unknown_fields(raw, OWN_FIELDS)
