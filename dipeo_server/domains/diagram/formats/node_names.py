"""What a document calls its nodes: labels made unique, ids, and `metadata.keys`.

In light and readable documents a node is called by its label, in native ones by its id. That name
is the node's key unless `metadata.keys`, a map from name to key, says otherwise: so a diagram keeps
its keys from format to format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX, as_text
from dipeo_server.domains.diagram.formats.source import Source
from dipeo_server.domains.diagram.model import DomainDiagram, DomainNode
from dipeo_server.errors import InvalidInput

Node = DomainNode[Mapping[str, Any]]

KEYS: Final = "keys"


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


def split_keys(
    metadata: Mapping[str, Any], names: Collection[str]
) -> tuple[dict[str, str], Mapping[str, Any]]:
    """The keys that the metadata give to these names, and the metadata without them."""
    written = metadata.get(KEYS)
    if not isinstance(written, dict):
        return {}, metadata
    keys = {
        name: key for name, key in written.items() if name in names and key and type(key) is str
    }
    rest = {name: value for name, value in written.items() if name not in keys}
    others = {name: value for name, value in metadata.items() if name != KEYS}
    return keys, {**others, KEYS: rest} if rest else others


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


def with_written_ids(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes with the ids that were written in them; an id taken before stays in `extra`."""
    every = tuple(nodes)
    owners: dict[str, str] = {}
    for node in every:
        written = _written_id(node)
        if written is not None:
            owners.setdefault(written, node.key)
    if not owners:
        return every
    names = FreeNames(owners)
    found = []
    for node in every:
        written = _written_id(node)
        if written is not None and owners[written] == node.key:
            extra = {name: value for name, value in node.extra.items() if name != "id"}
            found.append(replace(node, id=written, extra=extra))
        else:
            found.append(replace(node, id=names.take(node.id)))
    return tuple(found)


def _written_id(node: Node) -> str | None:
    written = as_text(node.extra.get("id"))
    return written if written and len(written) <= LABEL_CHARACTERS_MAX else None


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


def with_keys(metadata: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The metadata that also tell the keys; `names` are the names by key."""
    keys = {name: key for key, name in names.items() if name != key}
    if not keys:
        return dict(metadata)
    before = metadata.get(KEYS)
    return {**metadata, KEYS: {**(before if isinstance(before, dict) else {}), **keys}}
