"""Decorators for the types of the schema: what a docstring says is what a client reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast, dataclass_transform

import strawberry
from strawberry.types.field import StrawberryField

from dipeo_server.api.types.audited import Audited

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field, StrawberryField))
def object_type(cls: type[T]) -> type[T]:
    """An object type of the schema; the source documents' `…StateType` is `…State` there."""
    is_documents_own = cls.__name__.endswith("StateType")
    name = cls.__name__.removesuffix("Type") if is_documents_own else None
    return strawberry.type(cls, name=name, description=_description(cls))


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field, StrawberryField))
def interface(cls: type[T]) -> type[T]:
    """An interface of the schema."""
    return strawberry.interface(cls, description=_description(cls))


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field, StrawberryField))
def input_type(cls: type[T]) -> type[T]:
    """An input type of the schema."""
    return strawberry.input(cls, description=_description(cls))


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field, StrawberryField))
def one_of_type(cls: type[T]) -> type[T]:
    """An input type of which exactly one field is given."""
    return strawberry.input(cls, one_of=True, description=_description(cls))


def computed(resolver: F) -> F:
    """A field with a resolver."""
    return cast("F", strawberry.field(resolver=resolver, description=_description(resolver)))


def mutation(resolver: F) -> F:
    """A field of the mutation type."""
    described = strawberry.mutation(
        resolver=resolver, description=_description(resolver), extensions=[Audited()]
    )
    return cast("F", described)


def subscription(resolver: F) -> F:
    """A field of the subscription type."""
    described = strawberry.subscription(resolver=resolver, description=_description(resolver))
    return cast("F", described)


def _description(item: object) -> str:
    """The docstring as one paragraph per blank line. Raises TypeError where there is none."""
    text = inspect.getdoc(item)
    if not text:
        raise TypeError(f"{item!r} needs a docstring: clients read it.")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
