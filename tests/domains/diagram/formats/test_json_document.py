"""JSON text becomes plain values with places; hostile text is refused precisely and quickly."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.formats.json_document import parse_json
from dipeo_server.domains.diagram.formats.json_values import DOCUMENT_BYTES_MAX, fault_of
from dipeo_server.domains.diagram.model import Location
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem


def refusal(text: str) -> DiagramProblem:
    with pytest.raises(DiagramInvalid) as caught:
        parse_json(text)
    [problem] = caught.value.problems
    return problem


REFUSED = [
    ("nothing", " \n", "DOCUMENT_EMPTY", (2, 1)),
    ("duplicate key", '{"a": 1,\n "b": 2,\n "a": 3}', "JSON_DUPLICATE_KEY", (3, 2)),
    ("duplicate key in disguise", '{"a": 1, "\\u0061": 3}', "JSON_DUPLICATE_KEY", (1, 10)),
    ("deep lists", "[" * 1_000_000, "DOCUMENT_TOO_DEEP", (1, 65)),
    ("deep maps", '{"a":' * 200_000, "DOCUMENT_TOO_DEEP", (1, 321)),
    ("key without quotes", "{a: 1}", "JSON_SYNTAX", (1, 2)),
    ("a list as key", "{[1]: 1}", "JSON_SYNTAX", (1, 2)),
    ("single quotes", "{\n  'a': 1}", "JSON_SYNTAX", (2, 3)),
    ("comment", '{"a": 1} // so', "JSON_SYNTAX", (1, 10)),
    ("comma at the end", '{"a": 1,\n}', "JSON_SYNTAX", (2, 1)),
    ("comma at the end of a list", "[1,]", "JSON_SYNTAX", (1, 4)),
    ("no comma", "[1\n 2]", "JSON_SYNTAX", (2, 2)),
    ("no colon", '{"a" 1}', "JSON_SYNTAX", (1, 6)),
    ("no value", '{"a":, "b": 1}', "JSON_SYNTAX", (1, 6)),
    ("wrong bracket", '{"a": [1}', "JSON_SYNTAX", (1, 9)),
    ("a bracket too many", "[1]]", "JSON_SYNTAX", (1, 4)),
    ("a second document", "{}\n{}", "JSON_SYNTAX", (2, 1)),
    ("cut off", '{"a": [1, 2', "JSON_SYNTAX", (1, 12)),
    ("unclosed text", '["a', "JSON_SYNTAX", (1, 2)),
    ("line break in a text", '["a\nb"]', "JSON_SYNTAX", (1, 4)),
    ("unknown escape", r'["C:\dir"]', "JSON_SYNTAX", (1, 5)),
    ("unknown word", "[True]", "JSON_SYNTAX", (1, 2)),
    ("undefined", "[undefined]", "JSON_SYNTAX", (1, 2)),
    ("half a pair", '["\ud800"]', "JSON_SYNTAX", (1, 3)),
    ("half a pair as an escape", '["\\ud800"]', "JSON_SYNTAX", (1, 2)),
    ("not a number", "[NaN]", "JSON_NUMBER", (1, 2)),
    ("infinite", "[-Infinity]", "JSON_NUMBER", (1, 2)),
    ("20,000 digits", f"[{'9' * 20_000}]", "JSON_NUMBER", (1, 2)),
    ("65 bits", "[9223372036854775808]", "JSON_NUMBER", (1, 2)),
    ("too long a float", f"[1.{'0' * 200}]", "JSON_NUMBER", (1, 2)),
    ("too large a float", "[1e999]", "JSON_NUMBER", (1, 2)),
    ("leading zero", "[01]", "JSON_SYNTAX", (1, 3)),
    ("leading plus", "[+1]", "JSON_SYNTAX", (1, 2)),
    ("no-break space", "[1,\u00a02]", "JSON_SYNTAX", (1, 4)),
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text, code, place", [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_what_is_no_plain_json_is_refused_with_its_place(
    text: str, code: str, place: tuple[int, int]
) -> None:
    problem = refusal(text)
    assert (problem.code, problem.location) == (code, Location(*place))
    assert len(problem.message) < 200


def test_a_document_that_is_too_large_is_refused_before_it_is_read() -> None:
    assert refusal("[" * (DOCUMENT_BYTES_MAX + 1)).code == "DOCUMENT_TOO_LARGE"
    assert refusal(f'["{"é" * (DOCUMENT_BYTES_MAX // 2)}"]').code == "DOCUMENT_TOO_LARGE"
    assert len(parse_json(f'["{"x" * (DOCUMENT_BYTES_MAX - 4)}"]').data[0]) > 1_000_000


def test_both_places_of_a_duplicate_key_are_told() -> None:
    problem = refusal('{\n"a": 1,\n"a": 2\n}')
    assert problem.message == ("The key 'a' is written twice: first in line 2, again in line 3.")


@pytest.mark.parametrize(
    "text, hint",
    [
        ("{'a': 1}", "double quotes"),
        ('{"a": 1,}', "Remove the comma"),
        ('{"a": 1 # one\n}', "no comments"),
        ('["a\tb"]', "\\t"),
        ('{"a": [1', "missing"),
    ],
)
def test_common_faults_have_a_hint(text: str, hint: str) -> None:
    assert hint in (refusal(text).hint or "")


# --- values and places --------------------------------------------------------------------------


def test_every_key_and_item_has_its_place() -> None:
    document = parse_json('\ufeff{\n  "nodes": [\n    {"id": "a"},\r\n    7\n  ]\n}\n')
    assert document.data == {"nodes": [{"id": "a"}, 7]}
    assert document.root == Location(1, 2)
    assert document.location() == document.root
    assert document.location("nodes") == Location(2, 3)
    assert document.location("nodes", 0) == Location(3, 5)
    assert document.location("nodes", 0, "id") == Location(3, 6)
    assert document.location("nodes", 1) == Location(4, 5)


def test_what_is_not_there_has_the_place_of_what_is_around_it() -> None:
    document = parse_json('{"a": {"b": 1}}')
    assert document.location("a", "c", "d") == Location(1, 2)
    assert document.location("a", "b", "c") == Location(1, 8)
    assert document.location("x") == document.root


words = st.text(max_size=5)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


@given(value=values, indent=st.none() | st.integers(0, 2), is_ascii=st.booleans())
def test_the_values_are_those_of_the_standard_library(
    value: Any, indent: int | None, is_ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    found = parse_json(text).data
    assert repr(found) == repr(json.loads(text))
    assert fault_of(found) is None


@given(text=st.text(st.sampled_from('{}[]:,"\\ \nu0a1-.eEtrunlfas')))
def test_what_the_standard_library_refuses_is_refused(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        assert refusal(text).code in {"JSON_SYNTAX", "JSON_NUMBER", "DOCUMENT_EMPTY"}
        return
    try:
        found = parse_json(text).data
    except DiagramInvalid as invalid:
        [problem] = invalid.problems
        assert problem.code in {"JSON_DUPLICATE_KEY", "JSON_NUMBER"}
    else:
        assert repr(found) == repr(expected)
