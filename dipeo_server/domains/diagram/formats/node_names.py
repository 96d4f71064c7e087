"""What a document calls its nodes: labels made unique, ids, and the metadata that tell the rest.

In light and readable documents a node is called by its label, in native ones by its id. That name
is the node's key unless `metadata.keys`, a map from name to key, says otherwise: so a diagram keeps
its keys from format to format. Where labels had to be made unique, `metadata.labels` keeps them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dipeo_server.domains.diagram.formats.extras import EXTRA, unknown_fields, with_unknown_fields
from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX, as_text
from dipeo_server.domains.diagram.formats.source import Source
from dipeo_server.domains.diagram.model import DomainDiagram, DomainNode
from dipeo_server.errors import InvalidInput

Node = DomainNode[Mapping[str, Any]]

KEYS: Final = "keys"
LABELS: Final = "labels"


class FreeNames:
    """Names that are given away once each."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._counts: Counter[str] = Counter()

    def take(self, wanted: str) -> str:
        """The name, or the name with `~1`, `~2` if it is taken; from now on it is."""
        found = wanted
        while found in self._taken:
            self._counts[wanted] += 1
            found = f"{wanted}~{self._counts[wanted]}"
        self._taken.add(found)
        return found


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """What the metadata tell of nodes, by the names these have in the document, and the rest."""

    keys: Mapping[str, str]
    labels: Mapping[str, str]
    metadata: Mapping[str, Any]


def told_names(
    metadata: Mapping[str, Any], names: Collection[str], fields: Sequence[str] = (KEYS, LABELS)
) -> Names:
    """What these fields of the metadata tell of nodes with these names.

    What tells of no such node, or is no name, is left in the metadata.
    """
    found: dict[str, dict[str, str]] = {KEYS: {}, LABELS: {}}
    rest = dict(metadata)
    for name in fields:
        written = metadata.get(name)
        entries = written if isinstance(written, dict) else {}
        found[name] = {
            node: text
            for node, text in entries.items()
            if node in names and type(text) is str and 0 < len(text) <= LABEL_CHARACTERS_MAX
        }
        if found[name]:
            others = {node: text for node, text in entries.items() if node not in found[name]}
            rest = {**rest, name: others} if others else _without(rest, name)
    return Names(found[KEYS], found[LABELS], unknown_fields(rest, ()))


def keyed(source: Source, nodes: Sequence[Node], keys: Mapping[str, str]) -> tuple[Node, ...]:
    """The nodes, whose keys are their names so far, with the keys that are given to them.

    A key that would be another node's too is reported, and not given.
    """
    if not keys:
        return tuple(nodes)
    uses = Counter(keys.get(node.key, node.key) for node in nodes)
    found = []
    for node in nodes:
        key = keys.get(node.key, node.key)
        if uses[key] > 1 and node.key in keys:
            message = f"`metadata.keys` gives the key {key!r} to {node.key!r}, but it is not free."
            at = ("metadata", KEYS, node.key)
            source.report("DUPLICATE_KEY", message, at=at, node=node.key)
        else:
            node = replace(node, key=key)
        found.append(node)
    return tuple(found)


def labelled(nodes: Iterable[Node], labels: Mapping[str, str]) -> tuple[Node, ...]:
    """The nodes, whose labels are their names so far, with the labels that are given to them."""
    return tuple(replace(node, label=labels.get(node.label, node.label)) for node in nodes)


def with_written_ids(nodes: Iterable[tuple[Node, object]]) -> tuple[Node, ...]:
    """The nodes with the ids that were written in them; one that cannot be it stays in `extra`."""
    every = tuple(nodes)
    owners: dict[str, str] = {}
    for node, written in every:
        text = _usable_id(written)
        if text is not None:
            owners.setdefault(text, node.key)
    names = FreeNames(owners)
    found = []
    for node, written in every:
        text = _usable_id(written)
        if text is not None and owners[text] == node.key:
            found.append(replace(node, id=text))
            continue
        extra = node.extra
        if written is not None:
            extra = unknown_fields({"id": written, EXTRA: dict(extra)}, ())
        found.append(replace(node, id=names.take(node.id), extra=extra))
    return tuple(found)


def _usable_id(written: object) -> str | None:
    text = as_text(written)
    return text if text and len(text) <= LABEL_CHARACTERS_MAX else None


# --- writing ------------------------------------------------------------------------------------


def unique_labels(diagram: DomainDiagram) -> dict[str, str]:
    """A label for each node key; one that several nodes share gets `~1`, `~2`."""
    names = FreeNames()
    return {node.key: names.take(node.label) for node in diagram.nodes}


def unique_ids(diagram: DomainDiagram) -> dict[str, str]:
    """An id for each node key; one that several nodes share gets `~1`, `~2`."""
    names = FreeNames()
    return {node.key: names.take(node.id) for node in diagram.nodes}


def check_ends(diagram: DomainDiagram) -> None:
    """Raises InvalidInput for an edge to a node that the diagram does not have."""
    known = {node.key for node in diagram.nodes}
    for edge in diagram.edges:
        for end in (edge.source, edge.target):
            if end not in known:
                raise InvalidInput(f"Edge {edge.key!r} names the unknown node {end!r}.")


def metadata_with_names(
    diagram: DomainDiagram,
    names: Mapping[str, str],
    *,
    are_labels: bool,
    reserved: Collection[str] = (),
) -> dict[str, Any]:
    """The metadata that also tell keys and labels, so that `told_names` gives both back.

    `names` are the names by key. Fields that are `reserved`, or would be taken for such names, go
    below `$extra`.
    """
    told = {KEYS: {name: key for key, name in names.items() if name != key}}
    if are_labels:
        told[LABELS] = {
            name: node.label for node in diagram.nodes if (name := names[node.key]) != node.label
        }
    written = {field: entries for field, entries in told.items() if entries}
    taken = {*written, *reserved}
    if told_names(diagram.metadata, {*names.values()}, [*told]).metadata != diagram.metadata:
        taken |= {*told}
    return {**with_unknown_fields({}, diagram.metadata, taken), **written}


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in fields.items() if other != name}
