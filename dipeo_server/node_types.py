"""Which node types there are: the built-in ones, and those of installed packages."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import metadata
from typing import Final

from dipeo_server.domains.execution import handlers
from dipeo_server.domains.execution.registry import HandlerRegistry, Registration, declared

NODES_GROUP: Final = "dipeo_server.nodes"
"""Entry-point group of packages that bring node types."""


def built_in_node_types() -> HandlerRegistry:
    """The node types of this package alone, whatever else the process has declared."""
    found = HandlerRegistry.discover([handlers])
    own = (found.get(type_) for type_ in found.specs)
    return HandlerRegistry(
        entry
        for entry in own
        if entry is not None and entry.handler.__module__.startswith(handlers.__name__)
    ).freeze()


def node_types() -> HandlerRegistry:
    """Every node type: the built-in ones and those of installed packages."""
    return node_types_with(())


def node_types_with(own: Iterable[Registration]) -> HandlerRegistry:
    """Every node type, and some for one purpose alone."""
    _import_node_types()
    return HandlerRegistry([*declared().values(), *own]).freeze()


@cache
def _import_node_types() -> None:
    """Once for the process: whatever is imported declares its node types."""
    packages = [entry.load() for entry in metadata.entry_points(group=NODES_GROUP)]
    HandlerRegistry.discover([handlers, *packages])
