"""Permissions: every field has one, and each role gets what it may have and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_leaf_type,
    parse,
)

from dipeo_server.api.authorization import (
    Authorizer,
    Undeclared,
    declared_fields,
    permissions_of,
)
from dipeo_server.api.context import ApiLimits
from dipeo_server.api.permissions import ADMIN, APPROVER, AUTHOR, DECLARED, OPERATOR, VIEWER
from dipeo_server.api.schema import print_schema_sdl
from dipeo_server.cli.permission_page import permission_page
from dipeo_server.domains.access.principal import Principal
from dipeo_server.domains.access.roles import Permission, Role
from dipeo_server.node_types import built_in_node_types
from tests.api.guarded import Guarded, guarded
from tests.api.serving import STRAIGHT

SCHEMA: GraphQLSchema = build_schema(print_schema_sdl(built_in_node_types().specs))

# --- the table ----------------------------------------------------------------------------------


def test_every_field_of_the_schema_has_a_permission_and_no_other_is_declared() -> None:
    found = permissions_of(SCHEMA)
    fields = {
        (type_.name, name)
        for type_ in SCHEMA.type_map.values()
        if not type_.name.startswith("__")
        for name in getattr(type_, "fields", ())
        if not isinstance(type_, GraphQLInputObjectType)
    }
    assert found.keys() == fields
    stale = declared_fields().keys() - fields
    assert not stale, f"declared in api/permissions.py, but not there: {sorted(stale)}"


def test_no_field_is_declared_twice() -> None:
    named = [
        (type_name, name)
        for _, types in DECLARED
        for type_name, names in types.items()
        for name in names.split()
    ]
    assert len(named) == len(set(named))


def test_a_schema_with_a_field_that_is_not_declared_cannot_be_built() -> None:
    schema = build_schema("type Query { a: A } type A { b: Int c: Int }")
    declared = [(VIEWER, {"Query": "a", "A": "b"})]
    with pytest.raises(Undeclared, match=r"A\.c"):
        permissions_of(schema, declared)


def test_a_field_of_an_interface_needs_what_any_of_its_types_needs() -> None:
    schema = build_schema(
        "interface I { x: Int y: Int } type A implements I { x: Int y: Int } "
        "type B implements I { x: Int y: Int } type Query { i: I a: A b: B }"
    )
    declared = [(VIEWER, {"Query": "i a b", "I": "x y"}), (ADMIN, {"B": "x"})]
    found = permissions_of(schema, declared)
    assert found["I", "x"] == ADMIN
    assert found["A", "x"] == VIEWER
    assert found["I", "y"] == VIEWER


@pytest.mark.parametrize(
    "one, other, both",
    [
        (VIEWER, ADMIN, ADMIN),
        (APPROVER, OPERATOR, Permission(Role.OPERATOR, needs_approver=True)),
        (AUTHOR, OPERATOR, AUTHOR),
    ],
)
def test_permissions_add_up(one: Permission, other: Permission, both: Permission) -> None:
    assert one.joined(other) == other.joined(one) == both


def test_no_role_approves_by_itself() -> None:
    assert not Principal("a", Role.ADMIN).may(APPROVER)
    assert Principal("a", Role.VIEWER, is_approver=True).may(APPROVER)
    assert not Principal("a", Role.VIEWER, is_approver=True).may(OPERATOR)


# --- documents ----------------------------------------------------------------------------------


def needs(document: str, name: str | None = None) -> set[Permission]:
    authorizer = Authorizer(SCHEMA, ApiLimits())
    return {permission for permission, _ in authorizer.demands(parse(document), name).needs}


@pytest.mark.parametrize(
    "document, expected",
    [
        ("{ me { name } }", {VIEWER}),
        ("{ __typename __schema { types { name } } }", set()),
        ("{ alias: tokens { id } }", {ADMIN, VIEWER}),
        ("{ ...F } fragment F on Query { ...G } fragment G on Query { tokens { id } }", {ADMIN}),
        ("{ ... { ... on Query { audit { nodes { at } } } } }", {ADMIN}),
        ("query($x: Boolean!) { tokens @include(if: $x) { id } }", {ADMIN}),
        ('mutation { approveBarrier(id: "x") { execution { id } } }', {APPROVER}),
    ],
)
def test_whatever_a_document_asks_for_is_found(document: str, expected: set[Permission]) -> None:
    assert expected <= needs(document)
    assert ADMIN in needs(document) or ADMIN not in expected


def test_only_the_operation_that_is_meant_counts() -> None:
    document = "query A { me { name } } query B { tokens { id } }"
    assert needs(document, "A") == {VIEWER}
    assert ADMIN in needs(document, "B")


def test_fragments_that_double_are_walked_through_once() -> None:
    links = " ".join(
        f"fragment F{n} on ExecutionState {{ ...F{n + 1} ...F{n + 1} }}" for n in range(200)
    )
    document = (
        f'{{ execution(id: "x") {{ ...F0 }} }} {links} fragment F200 on ExecutionState {{ id }}'
    )
    assert needs(document) == {VIEWER}


def test_mutations_are_counted_with_fragments_put_in() -> None:
    run = 'runDiagram(input: {source: {diagramId: "x"}}) { errors { code } }'
    document = f"mutation {{ a: {run} ...F }} fragment F on Mutation {{ b: {run} c: {run} }}"
    demands = Authorizer(SCHEMA, ApiLimits()).demands(parse(document), None)
    assert demands.mutations == ("runDiagram",) * 3
    assert demands.starts == 3


# --- a real server ------------------------------------------------------------------------------

ROLES = [(Role.VIEWER, True), *((role, False) for role in Role), (Role.ADMIN, True)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path_factory.mktemp("base")) as found:
        yield found


def literal(type_: GraphQLInputType) -> str:
    """The least value that the type takes."""
    match type_:
        case GraphQLNonNull(of_type=inner):
            return literal(inner)
        case GraphQLList():
            return "[]"
        case GraphQLEnumType(values=values):
            return str(next(iter(values)))
        case GraphQLInputObjectType(fields=fields):
            given = [
                f"{name}: {literal(field.type)}"
                for name, field in fields.items()
                if isinstance(field.type, GraphQLNonNull)
            ]
            if not given:  # An input of which exactly one field is given.
                name, field = next(iter(fields.items()))
                given = [f"{name}: {literal(field.type)}"]
            return "{" + ", ".join(given) + "}"
        case _:
            values = {
                "Int": "1",
                "Float": "1.0",
                "Boolean": "true",
                "JSON": "{}",
                "Sequence": '"1"',
            }
            return str(values.get(str(type_), '"x"'))


def asked(name: str, field: GraphQLField) -> str:
    """The least that can be asked of a field."""
    given = [
        f"{argument}: {literal(each.type)}"
        for argument, each in field.args.items()
        if isinstance(each.type, GraphQLNonNull)
    ]
    inner = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    return f"{name}({', '.join(given)}){inner}" if given else f"{name}{inner}"


def roots(type_: GraphQLObjectType | None) -> dict[str, str]:
    assert type_ is not None
    return {name: asked(name, field) for name, field in type_.fields.items()}


@pytest.mark.parametrize("role, is_approver", ROLES)
@pytest.mark.asyncio(loop_scope="module")
async def test_each_role_gets_what_it_may_and_nothing_else(
    server: Guarded, role: Role, is_approver: bool
) -> None:
    who = await server.somebody(role, is_approver=is_approver)
    principal = (await who.me()).principal
    declared = declared_fields()
    seen: set[Any] = set()
    for kind, fields in (
        ("query", roots(SCHEMA.query_type)),
        ("mutation", roots(SCHEMA.mutation_type)),
    ):
        for name, field in fields.items():
            permission = declared[kind.title(), name]
            answer = await who.answer(f"{kind} {{ {field} }}")
            errors = answer.get("errors", [])
            codes = {error["extensions"]["code"] for error in errors}
            assert not codes & {"GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"}, (name, errors)
            seen.add(principal.may(permission))
            if principal.may(permission):
                assert "FORBIDDEN" not in codes, (name, errors)
            else:
                assert codes == {"FORBIDDEN"}, (name, answer)
                assert "data" not in answer
                [error] = errors
                assert f"{kind.title()}.{name} needs {permission}" in error["message"]
                assert error["extensions"]["requires"] == str(permission)
    assert seen == ({True} if role is Role.ADMIN and is_approver else {True, False})


@pytest.mark.asyncio(loop_scope="module")
async def test_a_viewer_may_subscribe_to_everything_and_nobody_to_nothing(server: Guarded) -> None:
    fields = roots(SCHEMA.subscription_type)
    who = await server.somebody("viewer")
    async with who.socket() as client:
        assert await client.receive() == {"type": "connection_ack"}
        for name, field in fields.items():
            if name in {"barrierWaiting", "executionsChanged"}:
                continue  # These wait for what may come.
            id_ = await client.subscribe(f"subscription {{ {field} }}")
            message = await client.receive()
            assert "FORBIDDEN" not in str(message), name
            if message["type"] == "next":
                await client.send({"id": id_, "type": "complete"})
    for field in fields.values():
        answer = await server.live.http.post(
            server.live.url,
            json={"query": f"subscription {{ {field} }}"},
            headers={"accept": "text/event-stream"},
        )
        assert answer.status_code == 401


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_of_an_operation_is_done_where_a_part_is_denied(server: Guarded) -> None:
    author = await server.somebody("author")
    document = """mutation($content: String!) {
      createDiagram(input: {name: "sneaky", content: $content}) { errors { message } }
      createToken(input: {name: "me", role: ADMIN}) { text } }"""
    answer = await author.post(document, content=STRAIGHT)
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert "data" not in answer.json()
    found = await author.data('{ diagramByName(name: "sneaky") { id } }')
    assert found["diagramByName"] is None


@pytest.mark.asyncio(loop_scope="module")
async def test_a_socket_is_denied_what_http_is(server: Guarded) -> None:
    viewer = await server.somebody("viewer")
    async with viewer.socket() as client:
        assert await client.receive() == {"type": "connection_ack"}
        id_ = await client.subscribe("{ tokens { id } }")
        message = await client.receive()
        assert (message["type"], message["id"]) == ("error", id_)
        assert message["payload"][0]["extensions"]["code"] == "FORBIDDEN"


def test_the_page_of_permissions_is_what_is_declared() -> None:
    root = Path(__file__).parents[2]
    kept = (root / "docs" / "permissions.md").read_text("utf-8")
    assert kept == permission_page(), "docs/permissions.md is out of date; run: make docs"
