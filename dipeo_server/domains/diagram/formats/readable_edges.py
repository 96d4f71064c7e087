"""The links of a readable document as edges, once the types of all nodes are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dipeo_server.domains.diagram.formats.connection_ends import End, handle_of
from dipeo_server.domains.diagram.formats.content_types import with_content_types
from dipeo_server.domains.diagram.formats.edge_fields import FIELDS, edge_fields
from dipeo_server.domains.diagram.formats.extras import unknown_fields
from dipeo_server.domains.diagram.formats.readable_links import Link, Stop
from dipeo_server.domains.diagram.formats.source import Source
from dipeo_server.domains.diagram.model import DomainEdge, DomainNode

# What this format calls them, and what the others do: `as` is read as `content_type`.
SHORT_NAMES: Final[Mapping[str, str]] = {"label": "naming", "content_type": "as"}
# Fields of a destination with a meaning of their own; everything else is kept in `extra`.
EDGE_FIELDS: Final = FIELDS | {"from", "to", "in", "key", *SHORT_NAMES.values()}

Node = DomainNode[Mapping[str, Any]]


def read_edges(
    source: Source, links: Sequence[Link], nodes: Sequence[Node]
) -> tuple[DomainEdge, ...]:
    """The edges with their handles, fields and content types."""
    by_label = {node.label: node for node in nodes}
    edges: dict[str, DomainEdge] = {}
    for link in links:
        edge = _edge(source, link, by_label)
        if edge.key in edges:
            message = f"Two connections have the key {edge.key!r}."
            source.report("DUPLICATE_KEY", message, at=(*link.at, "key"), edge=edge.key)
        edges.setdefault(edge.key, edge)
    conditions = frozenset(node.key for node in nodes if node.type == "condition")
    return with_content_types(tuple(edges.values()), conditions)


def _edge(source: Source, link: Link, nodes: Mapping[str, Node]) -> DomainEdge:
    start = _end(link.source, nodes, link.key, is_output=True)
    end = _end(link.target, nodes, link.key, is_output=False)
    source_handle = handle_of(source, start)
    raw, own = _own_fields(link.fields)
    fields = edge_fields(
        raw,
        source_handle,
        lambda name, fault, hint: source.report(
            "INVALID_FIELD",
            f"{fault}.",
            at=(*link.at, name if name in own else SHORT_NAMES.get(name, name)),
            hint=hint,
            edge=link.key,
        ),
    )
    return DomainEdge(
        key=link.key,
        source=start.node.key,
        target=end.node.key,
        source_handle=source_handle,
        target_handle=handle_of(source, end),
        label=fields.label,
        content_type=fields.content_type,
        kind=fields.kind,
        condition=fields.condition,
        priority=fields.priority,
        transform=fields.transform,
        data=fields.data,
        location=source.document.location(*link.at),
        extra=unknown_fields(link.fields, own),
    )


def _own_fields(written: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The fields by the names of all formats, and which of the written ones they are.

    A long name beside its short one is an unknown field.
    """
    raw = {name: written[name] for name in FIELDS if name in written}
    both = set()
    for long, short in SHORT_NAMES.items():
        if written.get(short) is not None:
            both.add(long)
            raw[long] = written[short]
    return raw, EDGE_FIELDS - both


def _end(stop: Stop, nodes: Mapping[str, Node], edge: str, *, is_output: bool) -> End:
    found = stop.endpoint
    node = nodes[found.label]
    return End(node, found.handle, stop.text, stop.at, edge, is_output, found.is_strict)
