"""What a node says to the engine, taken from the same bag of props as what it says to its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.diagram.spec import NodeSettings, NodeSpec


def settings_of(node: DomainNode[Mapping[str, Any]], spec: NodeSpec | None) -> NodeSettings:
    """The node's engine settings. Raises pydantic.ValidationError.

    `timeout` is one of them only where the node's type has no `timeout` of its own.
    """
    own_fields = spec.props.model_fields if spec is not None else {}
    chosen = {
        name: node.props[name]
        for name in NodeSettings.model_fields
        if name in node.props and not (name == "timeout" and name in own_fields)
    }
    return NodeSettings.model_validate(chosen)
