"""How operations are measured, and how long measuring takes."""

import time
from pathlib import Path

import pytest
from graphql import GraphQLObjectType, build_schema, parse

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.limits import PAGE_DEFAULTS, Measure, Measuring, excess

LIMITS = ApiLimits()


def refusal(query: str, name: str | None = None, **variables: object) -> str | None:
    found = excess(parse(query), LIMITS, name, variables)
    return None if found is None else found.message


@pytest.mark.parametrize(
    "query",
    [
        "{ serverInfo { version } }",
        "{ executions(first: 100) { nodes { id status nodeStates { nodeKey status } } } }",
        "{ execution(id: 1) { events(first: 1000) { nodes { ... on A { output { body } } } } } }",
        "query Q { ...F } fragment F on Query { serverInfo { version } }",
        "{ __schema { types { fields { type { " + "ofType { " * 9 + "name" + " }" * 14,
    ],
)
def test_what_clients_usually_ask_is_within_the_limits(query: str) -> None:
    assert refusal(query) is None


@pytest.mark.parametrize(
    "query, what",
    [
        ("{ " + "a { " * 13 + "b" + " }" * 13 + " }", "14 levels of fields"),
        ("{ " + " ".join(f"a{n}: b" for n in range(31)) + " }", "31 aliases"),
        ("{ a " + "@skip(if: false) " * 51 + "}", "51 directives"),
        ("{ a { " + "b " * 1_000 + "} }", "1001 fields"),
        ("{ " + "a " * 21 + "}", "21 root fields"),
        ("mutation { " + "a " * 11 + "}", "11 mutations"),
        ("{ executions(first: 100) { nodes { events(first: 100) { nodes { a } } } } }", "10100"),
        ("{ execution { events(first: 99999) { nodes { a } } } }", "objects"),
    ],
)
def test_too_much_is_refused_and_named(query: str, what: str) -> None:
    message = refusal(query)
    assert message is not None
    assert what in message


def test_the_size_of_a_page_may_come_in_a_variable() -> None:
    query = (
        "query ($n: Int) { executions(first: $n) { nodes { logs(first: $n) { nodes { a } } } } }"
    )
    assert refusal(query, n=10) is None
    assert refusal(query, n=100) is not None
    assert refusal(query) is None
    assert refusal(query, n="many") is None


def test_the_size_of_a_page_may_be_the_default_of_a_variable() -> None:
    query = (
        "query Q($n: Int = 100) { executions(first: $n) { nodes { logs(first: $n) { nodes { a } }"
        " } } } query Other($n: Int = 1) { a }"
    )
    assert refusal(query, "Q") is not None
    assert refusal(query, "Other") is None
    assert refusal(query, "Q", n=10) is None
    assert refusal(query, "Q", n=100.0) is not None


def test_several_things_by_their_ids_count_as_so_many() -> None:
    events = "{ ... on ExecutionState { events(first: 1000) { nodes { sequence } } } }"
    assert refusal(f'{{ nodes(ids: ["a"]) {events} }}') is None
    assert refusal(f'{{ nodes(ids: ["a", "b", "c", "d", "e", "f"]) {events} }}') is not None
    query = f"query ($ids: [ID!]!) {{ nodes(ids: $ids) {events} }}"
    assert refusal(query, ids=["a"]) is None
    assert refusal(query, ids=["a"] * 6) is not None
    query = f'query ($ids: [ID!]! = ["a", "b", "c", "d", "e", "f"]) {{ nodes(ids: $ids) {events} }}'
    assert refusal(query) is not None


def test_every_field_with_pages_has_a_default_to_be_counted_by() -> None:
    schema = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
    paged = {
        name
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        for name, each in type_.fields.items()
        if {"first", "last"} & each.args.keys()
    }
    assert paged == PAGE_DEFAULTS.keys()


def test_a_page_without_a_size_counts_with_its_default() -> None:
    query = "{ executions { nodes { children { nodes { children { nodes { a } } } } } } }"
    assert refusal(query) == "The operation asks for 8420 objects; at most 5000 are allowed."


def test_of_fragments_on_different_types_only_the_largest_counts() -> None:
    query = "{ x(first: 10) { ... on A { a { b } } ... on B { a { b } c { d } } e { f } } }"
    document = parse(query)
    measuring = Measuring({}, {})
    [operation] = document.definitions
    found = measuring.selection(operation.selection_set.selections)  # type: ignore[attr-defined] # it is an operation
    assert found == Measure(depth=3, fields=9, root_fields=1, objects=40)


def test_only_the_operation_that_is_meant_is_measured() -> None:
    query = "query Small { a } query Large { " + "a " * 21 + "}"
    assert refusal(query, "Small") is None
    assert refusal(query, "Large") is not None
    assert refusal(query) is not None


def test_a_fragment_that_spreads_itself_is_measured_too() -> None:
    assert refusal("{ ...F } fragment F on Query { a ...F }") is None


def test_an_unknown_fragment_counts_for_nothing() -> None:
    assert refusal("{ ...Nope }") is None


def test_a_chain_of_fragments_is_measured_once_each() -> None:
    links = [f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(60)]
    document = parse(" ".join(["{ ...F0 }", *links, "fragment F60 on Query { a }"]))
    begun = time.perf_counter()
    found = excess(document, LIMITS, None, {})
    assert found is not None
    assert "1152921504606846976" in found.message
    assert time.perf_counter() - begun < 1.0


def test_a_document_nested_beyond_the_stack_is_refused() -> None:
    links = [f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(2_000)]
    document = parse(" ".join(["{ ...F0 }", *links]))
    found = excess(document, LIMITS, None, {})
    assert found is not None
    assert found.extensions == {"code": "LIMIT_EXCEEDED"}
