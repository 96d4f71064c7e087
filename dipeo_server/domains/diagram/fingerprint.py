"""What a node's result rests on, as a short text: equal fingerprints, interchangeable results."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dipeo_server.domains.diagram.executable import (
    ExecutableDiagram,
    ExecutableEdge,
    ExecutableNode,
)


def node_fingerprint(diagram: ExecutableDiagram, node: ExecutableNode) -> str:
    """32 hexadecimal digits over the node's key, type, props, joins and incoming edges.

    Neither the position nor the order of nodes, edges and keys counts.
    """
    incoming = [_edge(diagram, diagram.edges[index]) for index in node.incoming]
    document = {
        "key": node.key,
        "type": node.type,
        "props": node.props,
        "join": [node.join, node.k, node.fan_out],
        "incoming": sorted(_canonical(edge) for edge in incoming),
    }
    return hashlib.blake2b(_canonical(document).encode(), digest_size=16).hexdigest()


def _edge(diagram: ExecutableDiagram, edge: ExecutableEdge) -> list[Any]:
    return [
        diagram.nodes[edge.source].key,
        edge.source_handle,
        edge.target_handle,
        edge.input_name,
        edge.kind,
        edge.condition,
        edge.transform,
    ]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
