"""The `arrows` of a native document, and the `handles` that they join."""

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
from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX, as_text
from dipeo_server.domains.diagram.formats.native_sections import TYPENAME, Item, items
from dipeo_server.domains.diagram.formats.source import Source
from dipeo_server.domains.diagram.model import DomainEdge, DomainNode
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.diagram.problem import Severity

ARROW_FIELDS: Final = FIELDS | {"id", "source", "target", TYPENAME}
DIRECTIONS: Final[Mapping[str, str]] = {"source": "output", "target": "input"}

_HINT: Final = "Write the id of a handle: `<node id>_<handle>_<input or output>`."

Node = DomainNode[Mapping[str, Any]]


def read_arrows(source: Source, nodes: Sequence[Node]) -> tuple[DomainEdge, ...]:
    """The arrows as edges, those with an unknown end left out; the key of each is its id."""
    reader = _Reader(source, {node.id: node for node in nodes})
    edges: dict[str, DomainEdge] = {}
    for item in items(source, "arrows"):
        key = item.id or f"arrow_{item.number}"
        edge = reader.edge(item, key)
        if edge is None:
            continue
        if key in edges:
            message = f"Two arrows have the id {key!r}."
            source.report("DUPLICATE_KEY", message, at=(*item.at, "id"), edge=key)
        edges.setdefault(key, edge)
    reader.report_strays()
    conditions = frozenset(node.key for node in nodes if node.type == "condition")
    return with_content_types(tuple(edges.values()), conditions)


class _Reader:
    def __init__(self, source: Source, nodes: Mapping[str, Node]) -> None:
        self.source = source
        self.nodes = nodes
        self.handles = _handles(source)
        self.used: set[str] = set()

    def edge(self, item: Item, key: str) -> DomainEdge | None:
        raw = item.raw
        start = self._end(item, "source", key)
        end = self._end(item, "target", key)
        if start is None or end is None:
            return None
        source_handle = handle_of(self.source, start)
        fields = edge_fields(
            {name: raw[name] for name in FIELDS if name in raw},
            source_handle,
            lambda name, fault, hint: self.source.report(
                "INVALID_FIELD", f"{fault}.", at=(*item.at, name), hint=hint, edge=key
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
            location=self.source.document.location(*item.at),
            extra=unknown_fields(raw, ARROW_FIELDS),
        )

    def _end(self, item: Item, name: str, edge: str) -> End | None:
        text = as_text(item.raw.get(name))
        at = (*item.at, name)
        if not text or len(text) > 3 * LABEL_CHARACTERS_MAX:
            message = f"The arrow has no `{name}`, or one that is no id."
            self.source.report("INVALID_FIELD", message, at=at, hint=_HINT, edge=edge)
            return None
        self.used.add(text)
        direction = DIRECTIONS[name]
        node_id, handle = self.handles.get(text) or self._parts(text, direction)
        node = self.nodes.get(node_id)
        if node is None:
            report_unknown_node(self.source, node_id, word="id", known=self.nodes, at=at, edge=edge)
            return None
        written = None if handle in ("", "default") else handle
        return End(node, written, text, at, edge, is_output=name == "source")

    def _parts(self, handle_id: str, direction: str) -> tuple[str, str]:
        """Node id and label in the id of a handle; the longest id of a node that there is wins."""
        if handle_id in self.nodes:
            return handle_id, "default"
        rest = handle_id.removesuffix(f"_{direction}")
        end = len(rest)
        while (end := rest.rfind("_", 0, end)) > 0:
            if rest[:end] in self.nodes:
                return rest[:end], rest[end + 1 :]
        node_id, _, label = rest.rpartition("_")
        return (node_id, label) if node_id else (rest, "default")

    def report_strays(self) -> None:
        """One warning for all handles of nodes that are not there and that no arrow uses."""
        strays = {
            node_id: None
            for handle, (node_id, _) in self.handles.items()
            if node_id not in self.nodes and handle not in self.used
        }
        if strays:
            self.source.report(
                "HANDLE_IGNORED",
                f"Handles of nodes that are not there are left out: {listed(strays)}.",
                at=("handles",),
                severity=Severity.WARNING,
            )


def _handles(source: Source) -> dict[str, tuple[str, str]]:
    """Node id and label by the id of the handle, for those that tell both."""
    found = {}
    for item in items(source, "handles"):
        node_id, label = as_text(item.raw.get("node_id")), as_text(item.raw.get("label"))
        if item.id and node_id and label:
            found[item.id] = (node_id, label)
    return found
