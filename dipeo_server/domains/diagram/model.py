"""What a diagram is, whatever format it was written in: nodes, edges and persons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dipeo_server.domains.diagram.executable import EdgeKind

P_co = TypeVar("P_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Location:
    """Where in the document a thing was written; both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class DomainNode(Generic[P_co]):
    """One node. `key` is the label in light and readable files, the id in native ones.

    In a diagram `props` is the map as written (after aliases); a handler gets its own props model.
    """

    key: str
    id: str
    type: str
    label: str
    props: P_co
    position: tuple[float, float] | None = None
    location: Location | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DomainEdge:
    """One connection. `source` and `target` are node keys; `data` is kept as written."""

    key: str
    source: str
    target: str
    source_handle: str = "default"
    target_handle: str = "default"
    label: str | None = None
    content_type: str | None = None
    kind: EdgeKind = EdgeKind.ALWAYS
    condition: str | None = None
    priority: int = 0
    transform: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    location: Location | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DomainPerson:
    """A language model with a role; prompts name it by its key or label."""

    key: str
    label: str
    service: str = "openai"
    model: str = "gpt-4-mini"
    system_prompt: str | None = None
    prompt_file: str | None = None
    api_key_id: str | None = None
    location: Location | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DomainDiagram:
    """A whole document. `extra` keeps unknown top-level fields, so that nothing is lost."""

    nodes: tuple[DomainNode[Mapping[str, Any]], ...]
    edges: tuple[DomainEdge, ...]
    persons: tuple[DomainPerson, ...] = ()
    name: str | None = None
    description: str | None = None
    format: str = "light"
    path: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
