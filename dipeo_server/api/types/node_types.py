"""NodeType: the one enum that is not written down but built from what is registered."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import strawberry
from strawberry.scalars import JSON
from strawberry.types.enum import StrawberryEnumDefinition

from dipeo_server.api.types.described import object_type
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.registry import RegistryError, graphql_name

UNKNOWN: Final = "UNKNOWN"
_DESCRIPTION: Final = "Every node type of this server."
_UNKNOWN_DESCRIPTION: Final = "This server has no handler for the type; `typeName` names it."


@strawberry.enum(description=_DESCRIPTION)
class NodeType(StrEnum):
    """Stands in annotations for the enum that each schema builds for itself.

    Values are the names of members, so resolvers give a name and no member.
    """

    UNKNOWN = UNKNOWN


def node_type_enum(specs: Mapping[str, NodeSpec]) -> StrawberryEnumDefinition:
    """The enum of these types and UNKNOWN, named and described as their authors did.

    Raises RegistryError where two types have one name.
    """
    described: dict[str, str] = {}
    for spec in sorted(specs.values(), key=lambda spec: spec.type):
        name = graphql_name(spec.type)
        if name in described or name == UNKNOWN:
            raise RegistryError(f"Node type {spec.type!r} has a name that is taken: {name}.")
        described[name] = spec.description or f"{spec.label or spec.type}."
    described[UNKNOWN] = _UNKNOWN_DESCRIPTION
    make: Any = StrEnum
    built = make("NodeType", [(name, name) for name in described])
    definition = strawberry.enum(built, description=_DESCRIPTION).__strawberry_definition__
    assert isinstance(definition, StrawberryEnumDefinition)
    for value in definition.values:
        value.description = described[value.name]
    return definition


def is_node_type(type_: object) -> bool:
    """Is it the stand-in that a schema puts its own enum in place of?"""
    if isinstance(type_, StrawberryEnumDefinition):
        return type_.wrapped_cls is NodeType
    return type_ is NodeType


def node_type_name(type_: str, specs: Mapping[str, NodeSpec]) -> NodeType:
    """The member for a type as it is written: its name, which the schema's own enum knows."""
    # Output only needs the member's name; the class that has it belongs to the schema.
    return _named(graphql_name(type_) if type_ in specs else UNKNOWN)


def type_of_name(name: str, specs: Mapping[str, NodeSpec]) -> str | None:
    """The type that a member stands for; None for UNKNOWN."""
    return next((type_ for type_ in specs if graphql_name(type_) == name), None)


def _named(name: Any) -> NodeType:
    found: NodeType = name
    return found


@object_type
class NodeTypeInfo:
    """A node type: what an editor needs to offer it."""

    type: NodeType = strawberry.field(description="Its member in the enum.")
    label: str = strawberry.field(description="Its name for people.")
    description: str = strawberry.field(description="What a node of this type does.")
    category: str = strawberry.field(description="The group it is offered in.")
    props_schema: JSON = strawberry.field(description="JSON schema of the node's props.")
    inputs: list[str] = strawberry.field(description="Handles that edges may lead to.")
    outputs: list[str] = strawberry.field(description="Handles that edges may leave from.")
    after_crash: str = strawberry.field(
        description=(
            "What happens to a visit that was running when the server died: rerun, ask or fail."
        )
    )


def node_type_info(spec: NodeSpec) -> NodeTypeInfo:
    """The GraphQL value of a registered type."""
    return NodeTypeInfo(
        type=_named(graphql_name(spec.type)),
        label=spec.label or spec.type,
        description=spec.description,
        category=spec.category,
        props_schema=JSON(spec.props.model_json_schema()),
        inputs=list(spec.ports.inputs),
        outputs=list(spec.ports.outputs),
        after_crash=spec.after_crash.value,
    )
