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

    Of a `branch`, which had a copy of the variables, `puts` are what it ended with, and `before`
    what it began with: what lies between the two is its contribution.
    """

    puts: Mapping[str, Any] = field(default_factory=dict)
    deletes: tuple[str, ...] = ()
    reducer: str | None = None
    branch: str | None = None
    before: Mapping[str, Any] = field(default_factory=dict)


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
    `between` gets (old, new) as well: what a branch contributed that began with `old` and ended
    with `new`, so that merge(old, between(old, new)) is `new`. None: that has to be `new` itself,
    as where merging the same thing twice changes nothing.
    """

    name: str
    merge: Reduce
    is_commutative: bool
    between: Reduce | None = None


def _append(old: Any, new: Any) -> Any:
    return [*(old if isinstance(old, list) else [old]), new]


def _extend(old: Any, new: Any) -> Any:
    return [*old, *new]


def _add(old: Any, new: Any) -> Any:
    return old + new


def _added(old: Any, new: Any) -> Any:
    """What was added to `old`: a number, or the end of a text or list."""
    if isinstance(old, int | float):
        return new - old
    if new[: len(old)] != old:
        raise ValueError("the end does not begin as the beginning")
    return new[len(old) :]


def _whole(_old: Any, new: Any) -> Any:
    return new


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
    Reducer("add", _add, is_commutative=True, between=_added),
    Reducer("min", min, is_commutative=True, between=_whole),
    Reducer("max", max, is_commutative=True, between=_whole),
    Reducer("merge", _merge, is_commutative=False),
    Reducer("union", _union, is_commutative=True, between=_whole),
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
    return _called(
        reducer.merge, f"Reducer {reducer.name!r} cannot merge variable {key!r}", old, new
    )


def contribution(reducer: Reducer, key: str, old: Any, new: Any) -> Any:
    """What a branch put that began with `old` and ended with `new`, for `reduce_value`.

    Raises ReducerFailed, naming the key, where the reducer cannot tell.
    """
    if old is None:
        return new
    cannot = f"Reducer {reducer.name!r} cannot tell what a branch put into variable {key!r}"
    if reducer.between is not None:
        return _called(reducer.between, cannot, old, new)
    if _called(reducer.merge, cannot, old, new) == new:
        return new
    message = f"{cannot}: it began with {old!r} and ended with {new!r}."
    raise ReducerFailed(message, hint="Register the reducer with `between`.")


def _called(function: Reduce, cannot: str, old: Any, new: Any) -> Any:
    try:
        return function(old, new)
    except (TypeError, ValueError, AttributeError) as error:
        kinds = f"{type(old).__name__} with {type(new).__name__}"
        raise ReducerFailed(f"{cannot}: {kinds} ({error}).") from error
