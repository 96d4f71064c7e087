"""Documents that are made to cost much: what refusing them costs, counted and not timed."""

import statistics
import sys
import time
from collections.abc import Callable

import pytest
from graphql import parse

from dipeo_server.api.context import ApiLimits, ApiServices, Connection
from dipeo_server.api.limits import excess, repeated
from dipeo_server.api.schema import Schema, build_schema
from tests.api.serving import Live
from tests.proofs.calibration import slowness

LIMITS = ApiLimits()
REFUSAL_SECONDS_MAX = 0.05
ROUNDS = 5

Making = Callable[[int], str]


def aliases(count: int) -> str:
    return "{ " + " ".join(f"a{n}: serverInfo {{ version }}" for n in range(count)) + " }"


def directives(count: int) -> str:
    return "{ serverInfo " + "@skip(if: false) " * count + "{ version } }"


def fields(count: int) -> str:
    return "{ serverInfo { " + "version " * count + "} }"


def unknown_fields(count: int) -> str:
    return "{ " + " ".join(f"nope{n}" for n in range(count)) + " }"


def levels(count: int) -> str:
    return "{ a " * count + "}" * count


def inline_fragments(count: int) -> str:
    return "{ " + "... { serverInfo { version } } " * count + "}"


def chain(count: int) -> str:
    links = [f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(count)]
    return " ".join(["{ ...F0 }", *links, f"fragment F{count} on Query {{ a }}"])


def doubling_chain(count: int) -> str:
    links = [f"fragment F{n} on Query {{ a ...F{n + 1} ...F{n + 1} }}" for n in range(count)]
    return " ".join(["{ ...F0 }", *links, f"fragment F{count} on Query {{ a }}"])


def cycle(count: int) -> str:
    links = [f"fragment F{n} on Query {{ a ...F{(n + 1) % count} }}" for n in range(count)]
    return " ".join(["{ ...F0 }", *links])


def unused_fragments(count: int) -> str:
    unused = [f"fragment F{n} on ServerInfo {{ version }}" for n in range(count)]
    return " ".join(["{ serverInfo { version } }", *unused])


def operations(count: int) -> str:
    return " ".join(f"query Q{n} {{ serverInfo {{ version }} }}" for n in range(count))


MAKINGS: list[Making] = [
    aliases,
    directives,
    fields,
    unknown_fields,
    levels,
    inline_fragments,
    chain,
    doubling_chain,
    cycle,
    unused_fragments,
    operations,
]


def calls(work: Callable[[], object]) -> int:
    """How many functions are called by some work; a measure that no other process disturbs."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("making", MAKINGS)
def test_measuring_costs_in_proportion_to_the_document(making: Making) -> None:
    def measured(size: int) -> int:
        document = parse(making(size))
        return calls(lambda: (excess(document, LIMITS, None, {}), repeated(document, LIMITS)))

    small, large = measured(25), measured(100)
    assert large < 5 * small + 100


@pytest.fixture(scope="module")
def schema(shared: Live) -> Schema:
    return build_schema(shared.services.specs)


async def refusal_of(schema: Schema, services: ApiServices, document: str) -> str:
    """The code of what keeps a document from being run."""
    result = await schema.execute(document, context_value=Connection(services))
    assert result.data is None
    assert result.errors
    found: str = (result.errors[0].extensions or {})["code"]
    return found


HOSTILE = {
    "10,000 aliases": aliases(10_000),
    "31 aliases": aliases(31),
    "20,000 directives": directives(20_000),
    "51 directives": directives(51),
    "20,000 unknown fields": unknown_fields(20_000),
    "980 equal fields": fields(980),
    "150 levels": levels(150),
    "240 inline fragments": inline_fragments(240),
    "a chain of 240 links": chain(240),
    "a chain of 300 links": chain(300),
    "a chain that doubles 100 times": doubling_chain(100),
    "a cycle of 180 fragments": cycle(180),
    "a cycle of 300 fragments": cycle(300),
    "280 unused fragments": unused_fragments(280),
    "280 operations": operations(280),
    "a comment of a million characters": "{ serverInfo { version } } #" + "x" * 1_000_000,
    "a text of a million characters": '{ node(id: "' + "x" * 1_000_000 + '") { id } }',
    "a million lines": "\n" * 1_000_000 + "{",
    "a number of 90,000 digits": "{ executions(first: " + "9" * 90_000 + ") { nodes { id } } }",
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_hostile_is_refused(name: str, schema: Schema, shared: Live) -> None:
    code = await refusal_of(schema, shared.services, HOSTILE[name])
    assert code in {"LIMIT_EXCEEDED", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"}


@pytest.mark.prove
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_hostile_is_refused_at_once(name: str, schema: Schema, shared: Live) -> None:
    took = []
    for number in range(ROUNDS):
        unknown = f"{HOSTILE[name]} # {number}"
        begun = time.perf_counter()
        await refusal_of(schema, shared.services, unknown)
        took.append(time.perf_counter() - begun)
    bound = REFUSAL_SECONDS_MAX * slowness()
    print(f"{name}: {statistics.median(took) * 1000:.1f} ms of {bound * 1000:.1f}")
    assert statistics.median(took) < bound


def test_fields_that_give_the_same_name_are_counted_wherever_they_are() -> None:
    limits = ApiLimits(field_pairs=3)
    within = "{ a { a } } fragment F on T { a b }"
    assert repeated(parse(within), limits) is None
    for more in ("{ a a a a }", "{ b: a a: b a a ... { a } }", within + " query Q { a }"):
        found = repeated(parse(more), limits)
        assert found is not None
        assert found.extensions == {"code": "LIMIT_EXCEEDED"}
        assert "'a' 4 times" in found.message
