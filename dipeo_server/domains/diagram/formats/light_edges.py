"""The `connections` of a light document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.diagram.formats.content_types import with_content_types
from dipeo_server.domains.diagram.formats.edge_fields import edge_fields
from dipeo_server.domains.diagram.formats.handles import inputs_of, outputs_of
from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.light_endpoints import Endpoint, Labels
from dipeo_server.domains.diagram.formats.source import Path, Source
from dipeo_server.domains.diagram.model import DomainEdge, DomainNode
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.diagram.problem import Severity

# Fields with a meaning of their own; everything else of a connection is kept in `extra`.
EDGE_FIELDS: Final = frozenset(
    {"from", "to", "key", "label", "content_type", "data", "kind", "condition", "transform"}
    | {"priority"}
)

_HINT: Final = "Write it as `- {from: A, to: B}`."


def read_edges(
    source: Source, nodes: Sequence[DomainNode[Mapping[str, Any]]]
) -> tuple[DomainEdge, ...]:
    """The connections, those with an unknown end left out; keys are arrow_0… by place."""
    reader = _Reader(source, {node.key: node.type for node in nodes})
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


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a connection: what was written, where, and which handles could be meant."""

    text: str
    at: Path
    edge: str
    endpoint: Endpoint
    handles: tuple[str, ...] | None


class _Reader:
    def __init__(self, source: Source, types: Mapping[str, str]) -> None:
        self.source = source
        self.types = types
        self.labels = Labels(types)

    def edge(self, raw: Mapping[str, Any], at: Path) -> DomainEdge | None:
        key = self.source.text(raw, "key", at) or f"arrow_{at[1]}"
        start = self._end(raw, "from", at, key)
        end = self._end(raw, "to", at, key)
        if start is None or end is None:
            return None
        source_handle = self._handle(start)
        fields = edge_fields(
            raw,
            source_handle,
            lambda name, fault, hint: self.source.report(
                "INVALID_FIELD", f"{fault}.", at=(*at, name), hint=hint, edge=key
            ),
        )
        return DomainEdge(
            key=key,
            source=start.endpoint.label,
            target=end.endpoint.label,
            source_handle=source_handle,
            target_handle=self._handle(end),
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

    def _end(self, raw: Mapping[str, Any], name: str, at: Path, edge: str) -> _End | None:
        text = as_text(raw.get(name))
        place = (*at, name)
        if not text:
            message = f"The connection has no `{name}`, or one that is no text."
            self.source.report("INVALID_FIELD", message, at=place, hint=_HINT, edge=edge)
            return None
        endpoint = self.labels.find(text)
        if endpoint is None:
            self._report_unknown(text, place, edge)
            return None
        handles_of = outputs_of if name == "from" else inputs_of
        handles = handles_of(self.types[endpoint.label], self.source.specs)
        return _End(text, place, edge, endpoint, handles)

    def _report_unknown(self, text: str, at: Path, edge: str) -> None:
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        self.source.report(
            "UNKNOWN_NODE",
            f"No node has the label {shown!r}.",
            at=at,
            hint=self.source.findings.suggest(text.split("[")[0].strip(), self.labels.every),
            edge=edge,
        )

    def _handle(self, end: _End) -> str:
        written = end.endpoint.handle
        if written is None:
            return "default"
        known = _known_handle(written, end.handles)
        if known is not None:
            return known
        self._report_handle(end, written)
        return written if end.endpoint.is_strict else "default"

    def _report_handle(self, end: _End, written: str) -> None:
        label, is_strict = end.endpoint.label, end.endpoint.is_strict
        role = "output" if end.at[-1] == "from" else "input"
        instead = "" if is_strict else f" {end.text!r} is read as {label!r}."
        self.source.report(
            "UNKNOWN_HANDLE",
            f"{label!r} ({self.types[label]}) has no {role} {written!r}.{instead}",
            at=end.at,
            hint=f"Its {role}s are: {listed(end.handles or ())}.",
            node=label,
            edge=end.edge,
            severity=Severity.ERROR if is_strict else Severity.WARNING,
        )


def _known_handle(written: str, handles: tuple[str, ...] | None) -> str | None:
    if handles is None or written in handles:
        return written
    folded = written.lower()
    return folded if folded in handles else None


def _extra(raw: Mapping[str, Any]) -> dict[str, Any]:
    says_type = raw.get("content_type") is not None
    return {
        name: value
        for name, value in raw.items()
        if name not in EDGE_FIELDS and (name != "type" or says_type)
    }
