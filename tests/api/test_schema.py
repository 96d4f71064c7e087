"""The schema as clients see it: named, described, and built from what is registered."""

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    is_specified_directive,
)
from graphql import (
    build_schema as read_sdl,
)
from graphql.type import GraphQLNamedType

from dipeo_server.api.schema import build_schema, print_schema_sdl
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec
from dipeo_server.domains.execution import events
from dipeo_server.domains.execution.registry import RegistryError
from dipeo_server.node_types import node_types

SPECS = {
    "start": NodeSpec("start", NodeProps, description="Begin here."),
    "my_own-job": NodeSpec("my_own-job", NodeProps, label="Mine"),
}


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return read_sdl(print_schema_sdl(node_types().specs))


def own_types(schema: GraphQLSchema) -> Iterator[GraphQLNamedType]:
    names = [name for name in schema.type_map if not name.startswith("__")]
    built_in = {"String", "Int", "Float", "Boolean", "ID"}
    return (schema.type_map[name] for name in names if name not in built_in)


def parts(type_: GraphQLNamedType) -> Iterator[tuple[str, str | None]]:
    """Everything of a type that may have a description, with it."""
    yield type_.name, type_.description
    match type_:
        case GraphQLObjectType() | GraphQLInterfaceType():
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field.description
                for argument, value in field.args.items():
                    yield f"{type_.name}.{name}({argument})", value.description
        case GraphQLInputObjectType():
            for name, input_field in type_.fields.items():
                yield f"{type_.name}.{name}", input_field.description
        case GraphQLEnumType():
            for name, member in type_.values.items():
                yield f"{type_.name}.{name}", member.description
        case _:
            pass


def test_everything_has_a_description(schema: GraphQLSchema) -> None:
    silent = [
        name
        for type_ in own_types(schema)
        for name, text in parts(type_)
        if not (text or "").strip()
    ]
    assert silent == []


def test_the_schema_prints_the_same_every_time() -> None:
    first, second = print_schema_sdl(SPECS), print_schema_sdl(SPECS)
    assert first == second
    assert first.endswith("}\n")


def test_the_hash_of_the_schema_tells_schemas_apart() -> None:
    first, second = build_schema(SPECS), build_schema({})
    assert first.content_hash == build_schema(SPECS).content_hash != second.content_hash


def test_node_types_are_those_that_are_registered() -> None:
    built = read_sdl(print_schema_sdl(SPECS)).type_map["NodeType"]
    assert isinstance(built, GraphQLEnumType)
    assert {name: value.description for name, value in built.values.items()} == {
        "MY_OWN_JOB": "Mine.",
        "START": "Begin here.",
        "UNKNOWN": "This server has no handler for the type; `typeName` names it.",
    }


def test_two_schemas_of_one_process_have_their_own_node_types() -> None:
    small, large = build_schema({}), build_schema(SPECS)
    assert "  START\n" not in small.as_str()
    assert "  START\n" in large.as_str()


def test_two_types_of_one_name_are_refused() -> None:
    clash = {"a-b": NodeSpec("a-b", NodeProps), "a_b": NodeSpec("a_b", NodeProps)}
    with pytest.raises(RegistryError, match="A_B"):
        build_schema(clash)


def test_every_event_of_the_log_has_its_type(schema: GraphQLSchema) -> None:
    # A fork begins with an event of the type with which any run does.
    facts = {kind.__name__ for kind in events.Event.__args__} - {"ExecutionForked"}
    interface: Any = schema.type_map["ExecutionEvent"]
    assert {each.name for each in schema.get_possible_types(interface)} == facts
    union: Any = schema.type_map["ExecutionStreamItem"]
    assert {each.name for each in union.types} == facts | {"ResyncRequired"}


@pytest.mark.parametrize(
    "line",
    [
        "input RunSource @oneOf {",
        "scalar Sequence",
        'grace: Duration = "PT2S"',
        "after: Sequence\n",
        'sourceHandle: String = "default"',
        "errorStrategy: ErrorStrategy = FAIL_FAST",
        "first: Int = 20",
        "kind: EdgeKind = ALWAYS",
        "  ): [Node]!",
        "errors: [UserError!]!",
        "field: [String!]\n",
    ],
)
def test_the_contract_is_kept_to_the_letter(line: str) -> None:
    assert line in print_schema_sdl(SPECS)


def test_null_is_not_printed_as_a_default() -> None:
    assert "= null" not in print_schema_sdl(SPECS)


def test_only_directives_of_the_standard_are_there(schema: GraphQLSchema) -> None:
    assert all(is_specified_directive(directive) for directive in schema.directives)
