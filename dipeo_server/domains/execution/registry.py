"""Node types and their handlers: registered by a decorator, discovered once, then frozen."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeAlias, TypeVar

from dipeo_server.domains.diagram.executable import AfterCrash
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.diagram.spec import ONE_IN_ONE_OUT, NodeProps, NodeSpec, Ports
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.output import HandlerResult
from dipeo_server.errors import DipeoError

P = TypeVar("P", bound=NodeProps)
Handler: TypeAlias = Callable[[DomainNode[P], ExecutionContext], Awaitable[HandlerResult]]
AnyHandler: TypeAlias = Callable[[DomainNode[Any], ExecutionContext], Awaitable[HandlerResult]]

_GRAPHQL_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")


class RegistryError(DipeoError):
    """A node type was declared in a way that cannot work; raised at import, with file and line."""


class RegistryFrozen(RegistryError):
    """Node types can only be registered before the server starts."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A node type and the function that runs it."""

    spec: NodeSpec
    handler: AnyHandler


_declared: dict[str, Registration] = {}


def node_handler(  # noqa: PLR0913 - the authors' API: every option is keyword-only.
    type_: str,
    *,
    props: type[NodeProps] = NodeProps,
    ports: Ports = ONE_IN_ONE_OUT,
    category: str = "other",
    after_crash: AfterCrash | None = None,
    pure: bool = False,
    branches: bool = False,
    holds_slot: bool = True,
) -> Callable[[Handler[P]], Handler[P]]:
    """Declare an async function `(node, ctx)` as the handler of a node type.

    `after_crash` None = RERUN if `pure`, else ASK. `branches`: it chooses which ports fire. Raises
    RegistryError for a sync function, a bad name, or a type that somebody else declared.
    """

    def declare(handler: Handler[P]) -> Handler[P]:
        where = _where(handler)
        if not inspect.iscoroutinefunction(handler):
            raise RegistryError(f"{where}: a node handler must be an async function.")
        if not _GRAPHQL_NAME.fullmatch(graphql_name(type_)):
            raise RegistryError(f"{where}: {type_!r} cannot be a GraphQL name.")
        known = _declared.get(type_)
        if known is not None and _where(known.handler) != where:
            other = _where(known.handler)
            raise RegistryError(f"{where}: node type {type_!r} is already declared at {other}.")
        policy = after_crash or (AfterCrash.RERUN if pure else AfterCrash.ASK)
        spec = NodeSpec(
            type=type_,
            props=props,
            ports=ports,
            category=category,
            label=graphql_name(type_).replace("_", " ").capitalize(),
            description=inspect.getdoc(handler) or "",
            after_crash=policy,
            is_pure=pure,
            branches=branches,
            holds_slot=holds_slot,
        )
        _declared[type_] = Registration(spec, handler)
        return handler

    return declare


def graphql_name(type_: str) -> str:
    """The enum member of a node type: `MyNodeType` and `my_node_type` give MY_NODE_TYPE."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type_)
    return spaced.replace("-", "_").upper()


def _where(handler: AnyHandler) -> str:
    code = getattr(handler, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(handler)


class HandlerRegistry:
    """All node types of one server."""

    def __init__(self, registrations: Iterable[Registration] = ()) -> None:
        self._by_type = {entry.spec.type: entry for entry in registrations}
        self._is_frozen = False

    @classmethod
    def discover(cls, packages: Iterable[ModuleType]) -> HandlerRegistry:
        """Import every module of the packages and take all node types declared so far."""
        for package in packages:
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
        return cls(_declared.values())

    def register(self, entry: Registration) -> None:
        """Add one type. Raises RegistryFrozen after `freeze`."""
        if self._is_frozen:
            message = f"Node type {entry.spec.type!r} comes too late: the registry is frozen."
            raise RegistryFrozen(message, hint="Declare node types before the server starts.")
        self._by_type[entry.spec.type] = entry

    def freeze(self) -> HandlerRegistry:
        """Allow no further types; gives itself."""
        self._is_frozen = True
        return self

    @property
    def specs(self) -> Mapping[str, NodeSpec]:
        """Every node type by name."""
        return {type_: entry.spec for type_, entry in self._by_type.items()}

    def get(self, type_: str) -> Registration | None:
        """The type and its handler, or None."""
        return self._by_type.get(type_)


def declared() -> Mapping[str, Registration]:
    """Everything the decorator has seen in this process."""
    return dict(_declared)
