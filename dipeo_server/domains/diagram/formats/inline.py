"""Diagrams given as nodes and edges in a request instead of as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dipeo_server.domains.diagram.formats.content_types import with_content_types
from dipeo_server.domains.diagram.formats.edge_fields import edge_fields
from dipeo_server.domains.diagram.formats.handles import known_type
from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX, as_text, fault_of
from dipeo_server.domains.diagram.formats.loaded import Findings, Loaded
from dipeo_server.domains.diagram.formats.node_fields import normal_props
from dipeo_server.domains.diagram.formats.persons import person_of, unreadable_fields
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec

Raw = Mapping[str, Any]


def from_inputs(  # noqa: PLR0913 - the fields of a diagram input, all but three by name
    nodes: Sequence[Raw],
    edges: Sequence[Raw],
    persons: object = None,
    *,
    specs: Mapping[str, NodeSpec],
    name: str | None = None,
    description: str | None = None,
    path: str | None = None,
) -> Loaded:
    """The diagram given as nodes `{key, type, label?, position?, props?, join?, fan_out?}`.

    Edges `{key?, source, target, source_handle?, target_handle?, label?, kind?, condition?,
    content_type?, transform?, priority?}` refer to node keys. Persons are a map from key to
    settings, or a list of maps with a `key` or `label`. Enum values may be in any case.
    """
    reader = _Reader(specs)
    found_nodes = reader.nodes(nodes)
    diagram = DomainDiagram(
        nodes=found_nodes,
        edges=reader.edges(edges, found_nodes),
        persons=reader.persons(persons),
        name=name,
        description=description,
        format="native",
        path=path,
    )
    return Loaded(diagram, reader.findings.problems())


@dataclass(slots=True)
class _Reader:
    specs: Mapping[str, NodeSpec]
    findings: Findings = field(default_factory=Findings)

    def _error(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        node: str | None = None,
        edge: str | None = None,
    ) -> None:
        self.findings.add(DiagramProblem(Severity.ERROR, code, message, hint, node, edge))

    # --- nodes ----------------------------------------------------------------------------------

    def nodes(self, raws: Sequence[Raw]) -> tuple[DomainNode[Raw], ...]:
        found: dict[str, DomainNode[Raw]] = {}
        for raw in raws:
            key = as_text(raw.get("key"))
            if not key:
                self._error("INVALID_FIELD", "A node has no key.")
            elif len(f"{key}{raw.get('label')}") > LABEL_CHARACTERS_MAX:
                message = f"A key and label have more than {LABEL_CHARACTERS_MAX} characters."
                self._error("LABEL_TOO_LONG", message)
            elif key in found:
                self._error("DUPLICATE_KEY", f"Two nodes have the key {key!r}.", node=key)
            else:
                found[key] = self._node(key, raw)
        return tuple(found.values())

    def _node(self, key: str, raw: Raw) -> DomainNode[Raw]:
        type_ = known_type(as_text(raw.get("type")) or "job", self.specs)
        settings = {n: raw[n] for n in ("join", "fan_out") if raw.get(n) is not None}
        props = normal_props(
            type_,
            (self._props(key, raw), settings),
            self.specs.get(type_),
            lambda fault: self._error("INVALID_FIELD", f"{key}: {fault}.", node=key),
        )
        return DomainNode(
            key=key,
            id=key,
            type=type_,
            label=as_text(raw.get("label")) or key,
            props=props,
            position=_position(raw.get("position")),
        )

    def _props(self, key: str, raw: Raw) -> Raw:
        props = raw.get("props")
        if props is None:
            return {}
        fault = "is no map" if not isinstance(props, dict) else fault_of(props)
        if fault is not None:
            self._error("INVALID_FIELD", f"{key}: `props` {fault}.", node=key)
            return {}
        return dict(props)

    # --- edges ----------------------------------------------------------------------------------

    def edges(
        self, raws: Sequence[Raw], nodes: Sequence[DomainNode[Raw]]
    ) -> tuple[DomainEdge, ...]:
        keys = {node.key for node in nodes}
        given = {as_text(raw.get("key")) for raw in raws}
        found: dict[str, DomainEdge] = {}
        number = 0
        for raw in raws:
            key = as_text(raw.get("key"))
            while not key:
                candidate = f"arrow_{number}"
                key = candidate if candidate not in given else None
                number += 1
            if key in found:
                self._error("DUPLICATE_KEY", f"Two edges have the key {key!r}.", edge=key)
            elif self._ends_exist(key, raw, keys):
                found[key] = self._edge(key, raw)
        conditions = frozenset(node.key for node in nodes if node.type == "condition")
        return with_content_types(tuple(found.values()), conditions)

    def _ends_exist(self, key: str, raw: Raw, keys: set[str]) -> bool:
        unknown = [end for end in ("source", "target") if as_text(raw.get(end)) not in keys]
        for end in unknown:
            text = as_text(raw.get(end)) or ""
            message = f"The {end} of edge {key!r} is no node: {text!r}."
            hint = self.findings.suggest(text, sorted(keys))
            self._error("UNKNOWN_NODE", message, hint=hint, edge=key)
        return not unknown

    def _edge(self, key: str, raw: Raw) -> DomainEdge:
        source_handle = as_text(raw.get("source_handle")) or "default"
        fields = edge_fields(
            self._checked(key, raw),
            source_handle,
            lambda _name, fault, hint: self._error(
                "INVALID_FIELD", f"Edge {key!r}: {fault}.", hint=hint, edge=key
            ),
        )
        return DomainEdge(
            key=key,
            source=str(as_text(raw["source"])),
            target=str(as_text(raw["target"])),
            source_handle=source_handle,
            target_handle=as_text(raw.get("target_handle")) or "default",
            label=fields.label,
            content_type=fields.content_type,
            kind=fields.kind,
            condition=fields.condition,
            priority=fields.priority,
            transform=fields.transform,
            data=fields.data,
        )

    def _checked(self, key: str, raw: Raw) -> Raw:
        fault = fault_of(raw.get("transform"))
        if fault is None:
            return raw
        self._error("INVALID_FIELD", f"Edge {key!r}: `transform` {fault}.", edge=key)
        return {name: value for name, value in raw.items() if name != "transform"}

    # --- persons --------------------------------------------------------------------------------

    def persons(self, raw: object) -> tuple[DomainPerson, ...]:
        fault = fault_of(raw)
        if fault is not None:
            self._error("INVALID_FIELD", f"`persons` {fault}.")
            return ()
        match raw:
            case None:
                return ()
            case dict():
                pairs = list(raw.items())
            case list():
                pairs = [(_person_key(item), item) for item in raw]
            case _:
                self._error("INVALID_FIELD", "`persons` is neither a map nor a list.")
                return ()
        found: dict[str, DomainPerson] = {}
        for key, item in pairs:
            if not key or not isinstance(item, dict):
                self._error("INVALID_FIELD", "A person has no key, or is no map of settings.")
            elif key in found:
                self._error("DUPLICATE_KEY", f"Two persons have the key {key!r}.")
            else:
                found[key] = self._person(key, item)
        return tuple(found.values())

    def _person(self, key: str, raw: Raw) -> DomainPerson:
        for name in unreadable_fields(raw):
            self._error("INVALID_FIELD", f"Person {key!r}: `{name}` must be a text.")
        return person_of(key, {name: value for name, value in raw.items() if name != "key"})


def _person_key(item: object) -> str | None:
    if not isinstance(item, dict):
        return None
    return next(
        (text for name in ("key", "id", "label") if (text := as_text(item.get(name)))), None
    )


def _position(raw: object) -> tuple[float, float] | None:
    match raw:
        case {"x": int() | float() as x, "y": int() | float() as y}:
            return (float(x), float(y))
        case _:
            return None
