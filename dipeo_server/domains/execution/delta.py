"""Changes of execution variables: deltas, and the reducers that merge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dipeo_server.errors import NodeError, Rejected


@dataclass(frozen=True, slots=True)
class StateDelta:
    """What one NodeRun wants to change: values to put, keys to delete.

    `reducer` names how a put meets the value that is there; None = the key's own reducer.
    """

    puts: Mapping[str, Any] = field(default_factory=dict)
    deletes: tuple[str, ...] = ()
    reducer: str | None = None


class ReducerFailed(NodeError):
    """A reducer cannot merge the two values."""

    code = "CONFLICT"


class UnknownReducer(Rejected):
    """No reducer is registered under that name."""

    code = "INVALID"


Reduce = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Reducer:
    """A named merge of the old and the new value.

    Commutative ones may be used by concurrent branches; `merge` gets (old, new), old never None.
    """

    name: str
    merge: Reduce
    is_commutative: bool


def _append(old: Any, new: Any) -> Any:
    return [*(old if isinstance(old, list) else [old]), new]


def _extend(old: Any, new: Any) -> Any:
    return [*old, *new]


def _add(old: Any, new: Any) -> Any:
    return old + new


def _merge(old: Any, new: Any) -> Any:
    return {**old, **new}


def _union(old: Any, new: Any) -> Any:
    # Sorted by their JSON-like text, so that the order of arrival does not show.
    return sorted([*old, *(item for item in new if item not in old)], key=repr)


LAST_WRITE: Final = Reducer("last_write", lambda _old, new: new, is_commutative=False)

BUILT_IN: Final[tuple[Reducer, ...]] = (
    LAST_WRITE,
    Reducer("append", _append, is_commutative=False),
    Reducer("extend", _extend, is_commutative=False),
    Reducer("add", _add, is_commutative=True),
    Reducer("min", min, is_commutative=True),
    Reducer("max", max, is_commutative=True),
    Reducer("merge", _merge, is_commutative=False),
    Reducer("union", _union, is_commutative=True),
)


class ReducerRegistry:
    """Reducers by name; the built-in ones and those that were registered."""

    def __init__(self, reducers: tuple[Reducer, ...] = BUILT_IN) -> None:
        self._reducers = {reducer.name: reducer for reducer in reducers}

    def register(self, reducer: Reducer) -> None:
        """Add one. Raises UnknownReducer if the name is taken by another."""
        if reducer.name in self._reducers:
            message = f"A reducer named {reducer.name!r} exists already."
            raise UnknownReducer(message, hint="Choose another name.")
        self._reducers[reducer.name] = reducer

    def get(self, name: str | None) -> Reducer:
        """The reducer of that name; None = last_write. Raises UnknownReducer."""
        reducer = self._reducers.get(name or LAST_WRITE.name)
        if reducer is None:
            message = f"There is no reducer named {name!r}."
            raise UnknownReducer(message, hint=f"Known reducers: {', '.join(self._reducers)}.")
        return reducer


def reduce_value(reducer: Reducer, key: str, old: Any, new: Any) -> Any:
    """The merged value; a first value is taken as it is. Raises ReducerFailed, naming the key."""
    if old is None:
        return [new] if reducer.name == "append" else new
    try:
        return reducer.merge(old, new)
    except (TypeError, ValueError, AttributeError) as error:
        message = (
            f"Reducer {reducer.name!r} cannot merge variable {key!r}: "
            f"{type(old).__name__} with {type(new).__name__} ({error})."
        )
        raise ReducerFailed(message) from error
