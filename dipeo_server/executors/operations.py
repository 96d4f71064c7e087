"""Operations: what a cell does, what it reads and exports, and how one depends on another."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from dipeo_server.domains.diagram.spec import NodeProps
from dipeo_server.errors import InvalidInput
from dipeo_server.executors.functions import check_async
from dipeo_server.executors.operation_code import names_of

CALL: Final = "call"
"""A parameter of that name is given the OperationCall."""

AsyncFunction: TypeAlias = Callable[..., Awaitable[Any]]


class TriggerMode(StrEnum):
    """When an operation runs: as soon as it can, or only where a step names it."""

    ON_CHANGE = "on_change"
    MANUAL = "manual"


class ReferenceKind(StrEnum):
    """How an operation uses another."""

    POSITIONAL = "positional"
    KEYWORD = "keyword"
    GLOBAL_NAME = "global_name"
    FUNCTION_INVOCATION = "function_invocation"
    ORDERING = "ordering"


class Reference(BaseModel):
    """One use of another operation; `name` or `position` where its kind has one.

    POSITIONAL and KEYWORD take its whole value, GLOBAL_NAME the export of that name,
    FUNCTION_INVOCATION calls the function of that name, ORDERING only comes after it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ReferenceKind
    name: str | None = None
    position: int | None = Field(None, ge=0)

    @classmethod
    def positional(cls, position: int) -> Self:
        """Its value is the parameter at that place, from 0."""
        return cls(kind=ReferenceKind.POSITIONAL, position=position)

    @classmethod
    def keyword(cls, name: str) -> Self:
        """Its value is the parameter of that name."""
        return cls(kind=ReferenceKind.KEYWORD, name=name)

    @classmethod
    def global_name(cls, name: str) -> Self:
        """What it exports under that name."""
        return cls(kind=ReferenceKind.GLOBAL_NAME, name=name)

    @classmethod
    def function_invocation(cls, name: str) -> Self:
        """A function of that name, which it exports."""
        return cls(kind=ReferenceKind.FUNCTION_INVOCATION, name=name)

    @classmethod
    def ordering(cls) -> Self:
        """No value: run behind it."""
        return cls(kind=ReferenceKind.ORDERING)


class Dependency(BaseModel):
    """That an operation depends on the operation of that id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: int
    reference: Reference


@dataclass(frozen=True, slots=True)
class Cell:
    """What an operation is to do: an async function, or Python code.

    The parameters of a function are the names that it reads, but for one called `call`. Its result
    is exported under the cell's name, or, with `exports`, is a map with those names. Code reads
    the names that it does not define, and exports what it assigns and defines at its top, unless
    a name begins with `_`. `functions` are exported to be called; `calls` names those of others
    that are called. `timeout` is in seconds; code has 30, a function as long as it likes.
    """

    work: AsyncFunction | str
    name: str | None = None
    exports: tuple[str, ...] | None = None
    functions: Mapping[str, AsyncFunction] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    trigger: TriggerMode = TriggerMode.ON_CHANGE
    is_long_running: bool = False
    is_consumable: bool = False
    timeout: float | None = None


class Operation(NodeProps):
    """An operation as it is stored: everything of its cell but the functions themselves.

    `function` and the values of `functions` are keys of a `Functions`; None for code. `explicit`
    takes the place of what is derived from the names that it reads.
    """

    id: int
    name: str
    function: str | None = None
    code: str | None = None
    parameters: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    exports: tuple[str, ...] = ()
    is_map: bool = False
    functions: dict[str, str | None] = Field(default_factory=dict)
    calls: tuple[str, ...] = ()
    trigger: TriggerMode = TriggerMode.ON_CHANGE
    is_long_running: bool = False
    is_consumable: bool = False
    timeout: float | None = Field(None, gt=0)
    explicit: tuple[Dependency, ...] | None = None

    @property
    def key(self) -> str:
        """The key of its node."""
        return f"{_PREFIX}{self.id}"

    def export_of(self, output: Any, name: str) -> Any:
        """What its output has under an exported name. Raises KeyError."""
        return output[name] if self.is_map else output

    def slot_of(self, reference: Reference) -> str | None:
        """The name under which it gets a value by that reference; None for no value."""
        match reference.kind:
            case ReferenceKind.POSITIONAL:
                place = reference.position or 0
                return self.parameters[place] if place < len(self.parameters) else f"_{place}"
            case ReferenceKind.KEYWORD | ReferenceKind.GLOBAL_NAME:
                return reference.name
            case ReferenceKind.FUNCTION_INVOCATION | ReferenceKind.ORDERING:
                return None


_PREFIX: Final = "op_"


def operation_key(operation_id: int) -> str:
    """The key of the node of an operation."""
    return f"{_PREFIX}{operation_id}"


def operation_id_of(key: str) -> int | None:
    """The operation whose node has that key, or None."""
    number = key.removeprefix(_PREFIX)
    return int(number) if number != key and number.isdecimal() else None


def operation_of(cell: Cell, operation_id: int) -> Operation:
    """The operation that a cell defines; its functions have their own names as keys.

    Raises InvalidInput for a function that is not async, for code that is no Python, and for a time
    limit that is none.
    """
    if cell.timeout is not None and cell.timeout <= 0:
        message = f"The timeout of a cell is in seconds, more than 0, and not {cell.timeout:g}."
        raise InvalidInput(message, field=("timeout",))
    for name, function in cell.functions.items():
        check_async(name, function)
    settings = {
        "id": operation_id,
        "calls": cell.calls,
        "trigger": cell.trigger,
        "is_long_running": cell.is_long_running,
        "is_consumable": cell.is_consumable,
        "timeout": cell.timeout,
    }
    if isinstance(cell.work, str):
        return _of_code(cell, cell.work, settings)
    return _of_function(cell, cell.work, settings)


def _of_code(cell: Cell, code: str, settings: dict[str, Any]) -> Operation:
    if cell.functions:
        message = "A cell of code exports the functions that it defines, and no others."
        raise InvalidInput(message, field=("functions",))
    names = names_of(code)
    exports = names.exports if cell.exports is None else cell.exports
    unknown = [name for name in exports if name not in names.exports]
    if unknown:
        message = f"The code assigns no {', '.join(map(repr, unknown))}, so it cannot export that."
        raise InvalidInput(message, field=("exports",))
    found = next(iter((*exports, *names.functions)), f"operation {settings['id']}")
    return Operation(
        **settings,
        name=cell.name or found,
        code=code,
        parameters=names.reads,
        required=frozenset(names.reads),
        exports=exports,
        is_map=True,
        functions=dict.fromkeys(names.functions),
    )


def _of_function(cell: Cell, function: AsyncFunction, settings: dict[str, Any]) -> Operation:
    name = cell.name or getattr(function, "__name__", None) or f"operation {settings['id']}"
    check_async(name, function)
    asked = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name != CALL
    ]
    return Operation(
        **settings,
        name=name,
        function=name,
        parameters=tuple(each.name for each in asked),
        required=frozenset(each.name for each in asked if each.default is each.empty),
        exports=(name,) if cell.exports is None else cell.exports,
        is_map=cell.exports is not None,
        functions={each: each for each in cell.functions},
    )


class Functions:
    """The async functions of a program, by the keys under which operations name them.

    Functions are not stored: a program that opens a graph again gives them again.
    """

    def __init__(self, given: Mapping[str, AsyncFunction] | None = None) -> None:
        """Raises InvalidInput for a function that is not async."""
        self._by_key = dict(given or {})
        for key, function in self._by_key.items():
            check_async(key, function)

    def keep(self, name: str, function: AsyncFunction) -> str:
        """Its key: the name; `name#2`, `name#3` … where other functions have that already."""
        key, number = name, 1
        while self._by_key.get(key, function) is not function:
            number += 1
            key = f"{name}#{number}"
        self._by_key[key] = function
        return key

    def get(self, key: str) -> AsyncFunction | None:
        """The function, or None."""
        return self._by_key.get(key)
