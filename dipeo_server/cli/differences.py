"""What is different between two runs: statuses, errors, variables, outputs, and where they part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

Document = Mapping[str, Any]

# What differs between any two runs, whatever they did.
_OWN: Final = frozenset(
    {
        *("timestamp", "executionId", "traceId", "spanId", "duration", "id", "barrierId"),
        *("dueAt", "expiresAt", "decisionId", "checkpointId", "actor", "parentId", "forkedAt"),
    }
)
# What these tell is how a run is kept, not what it did.
_OF_THE_STORE: Final = frozenset({"CheckpointSaved", "CheckpointFailed"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs; `kind` is status, error, node, variable or output.

    `a` and `b` are the values in both runs; `missing` names the run ("a" or "b") that has none.
    """

    kind: str
    key: str | None
    a: Any
    b: Any
    missing: str | None = None

    def document(self) -> dict[str, Any]:
        """The difference for programs."""
        return {
            "kind": self.kind,
            "key": self.key,
            "a": self.a,
            "b": self.b,
            "missing": self.missing,
        }


def differences(a: Document, b: Document) -> list[Difference]:
    """How two runs differ in what they came to; empty if in nothing."""
    found: list[Difference] = []
    if a["status"] != b["status"]:
        found.append(Difference("status", None, a["status"], b["status"]))
    if _error(a) != _error(b):
        found.append(Difference("error", None, _error(a), _error(b)))
    found += _of_maps("node", *(_statuses(each) for each in (a, b)))
    found += _of_maps("variable", a["variables"], b["variables"])
    found += _of_maps("output", *(_outputs(each) for each in (a, b)))
    return found


def parting(a: Sequence[Document], b: Sequence[Document]) -> int | None:
    """The first sequence at which two logs differ in more than times and ids, or None."""
    for at, (one, other) in enumerate(zip_longest(a, b), start=1):
        if one is None or other is None or _essence(one) != _essence(other):
            return at
    return None


def _of_maps(kind: str, a: Document, b: Document) -> Iterator[Difference]:
    for key in dict.fromkeys([*a, *b]):
        if key not in a or key not in b:
            missing = "a" if key not in a else "b"
            yield Difference(kind, key, a.get(key), b.get(key), missing)
        elif not _is_same(a[key], b[key]):
            yield Difference(kind, key, a[key], b[key])


def _is_same(a: Any, b: Any) -> bool:
    """Are they equal as JSON: `true` is not 1, and `1` is not `1.0`?"""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_is_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_is_same, a, b))
    return type(a) is type(b) and bool(a == b)


def _error(run: Document) -> str | None:
    error = run["error"]
    return None if error is None else f"{error['code']}: {error['message']}"


def _statuses(run: Document) -> dict[str, Any]:
    return {
        state["nodeKey"]: _visit(state["status"], state["occurrence"])
        for state in run["nodeStates"]
    }


def _visit(status: str, occurrence: int) -> str:
    return status if occurrence <= 1 else f"{status} #{occurrence}"


def _outputs(run: Document) -> dict[str, Any]:
    """The last output of each node; of one that is too large to be told, its size."""
    return {
        state["nodeKey"]: {"sizeBytes": state["output"]["sizeBytes"]}
        if state["output"]["isTruncated"]
        else state["output"]["body"]
        for state in run["nodeStates"]
        if state["output"] is not None
    }


def _essence(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("__typename") in _OF_THE_STORE:
            return value["__typename"]
        return {key: _essence(each) for key, each in value.items() if key not in _OWN}
    return [_essence(each) for each in value] if isinstance(value, list) else value
