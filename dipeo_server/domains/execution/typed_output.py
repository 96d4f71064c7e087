"""Typed outputs of one's own: a value, its checks, its downstream form (document 002)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dipeo_server.domains.execution.output import NodeOutput, create_node_output
from dipeo_server.errors import NodeError

T = TypeVar("T")


class OutputInvalid(NodeError):
    """A typed output says of itself that it is not valid."""

    code = "OUTPUT_INVALID"


@dataclass
class BaseNodeOutput(Generic[T]):
    """A typed value of a node; subclasses say what is valid and what goes downstream."""

    value: T
    node_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def has_error(self) -> bool:
        """Does its metadata tell of an error?"""
        return bool(self.metadata.get("error"))

    def get_output(self, key: str, default: Any = None) -> Any:
        """What the value (if it is a map), else the metadata, has under a key."""
        if isinstance(self.value, Mapping) and key in self.value:
            return self.value[key]
        return self.metadata.get(key, default)

    def validate(self) -> bool:
        """Is the value as it should be?"""
        return True

    def transform(self) -> Any:
        """What downstream nodes get."""
        return self.value

    def to_node_output(self) -> NodeOutput:
        """For a handler to return. Raises OutputInvalid."""
        if not self.validate():
            raise OutputInvalid(f"{type(self).__name__} of {self.node_id!r} is not valid.")
        return create_node_output({"default": self.transform()}, self.metadata)


@dataclass
class TextOutput(BaseNodeOutput[str]):
    """A text."""
