"""The `connections` of a light document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dipeo_server.domains.diagram.formats.connection_ends import (
    End,
    handle_of,
    report_unknown_node,
)
from dipeo_server.domains.diagram.formats.content_types import with_content_types
from dipeo_server.domains.diagram.formats.edge_fields import FIELDS, edge_fields
from dipeo_server.domains.diagram.formats.extras import unknown_fields
from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.light_endpoints import Labels
from dipeo_server.domains.diagram.formats.source import Path, Source
from dipeo_server.domains.diagram.model import DomainEdge, DomainNode

# Fields with a meaning of their own; everything else of a connection is kept in `extra`.
EDGE_FIELDS: Final = FIELDS | {"from", "to", "key"}

_HINT: Final = "Write it as `- {from: A, to: B}`."


def read_edges(
    source: Source, nodes: Sequence[DomainNode[Mapping[str, Any]]]
) -> tuple[DomainEdge, ...]:
    """The connections, those with an unknown end left out; keys are arrow_0… by place."""
    reader = _Reader(source, nodes)
    edges: dict[str, DomainEdge] = {}
    for index, raw in source.maps("connections", _HINT):
        edge = reader.edge(raw, ("connections", index))
        if edge is None:
            continue
        if edge.key in edges:
            message = f"Two connections have the key {edge.key!r}."
            place: Path = ("connections", index, "key")
            source.report("DUPLICATE_KEY", message, at=place, edge=edge.key)
        edges.setdefault(edge.key, edge)
    conditions = frozenset(node.key for node in nodes if node.type == "condition")
    return with_content_types(tuple(edges.values()), conditions)


class _Reader:
    def __init__(self, source: Source, nodes: Sequence[DomainNode[Mapping[str, Any]]]) -> None:
        self.source = source
        self.nodes = {node.label: node for node in nodes}
        self.labels = Labels(self.nodes)

    def edge(self, raw: Mapping[str, Any], at: Path) -> DomainEdge | None:
        key = self.source.text(raw, "key", at) or f"arrow_{at[1]}"
        start = self._end(raw, "from", at, key)
        end = self._end(raw, "to", at, key)
        if start is None or end is None:
            return None
        source_handle = handle_of(self.source, start)
        fields = edge_fields(
            raw,
            source_handle,
            lambda name, fault, hint: self.source.report(
                "INVALID_FIELD", f"{fault}.", at=(*at, name), hint=hint, edge=key
            ),
        )
        return DomainEdge(
            key=key,
            source=start.node.key,
            target=end.node.key,
            source_handle=source_handle,
            target_handle=handle_of(self.source, end),
            label=fields.label,
            content_type=fields.content_type,
            kind=fields.kind,
            condition=fields.condition,
            priority=fields.priority,
            transform=fields.transform,
            data=fields.data,
            location=self.source.document.location(*at),
            extra=_extra(raw),
        )

    def _end(self, raw: Mapping[str, Any], name: str, at: Path, edge: str) -> End | None:
        text = as_text(raw.get(name))
        place = (*at, name)
        if not text:
            message = f"The connection has no `{name}`, or one that is no text."
            self.source.report("INVALID_FIELD", message, at=place, hint=_HINT, edge=edge)
            return None
        found = self.labels.find(text)
        if found is None:
            report_unknown_node(
                self.source,
                text.split("[")[0].strip(),
                word="label",
                known=self.labels.every,
                at=place,
                edge=edge,
            )
            return None
        node = self.nodes[found.label]
        return End(node, found.handle, text, place, edge, name == "from", found.is_strict)


def _extra(raw: Mapping[str, Any]) -> dict[str, Any]:
    says_type = raw.get("content_type") is not None
    return unknown_fields(raw, EDGE_FIELDS if says_type else EDGE_FIELDS | {"type"})
