"""YAML text becomes plain values with places; hostile text is refused precisely and quickly."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.formats.json_values import DOCUMENT_BYTES_MAX, fault_of
from dipeo_server.domains.diagram.formats.yaml_document import parse_yaml
from dipeo_server.domains.diagram.model import Location
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem


def refusal(text: str, *, without_libyaml: bool = False) -> DiagramProblem:
    with pytest.raises(DiagramInvalid) as caught:
        parse_yaml(text, without_libyaml=without_libyaml)
    [problem] = caught.value.problems
    return problem


LAUGHS = "a: &a [lol, lol]\n" + "\n".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(9)
)

REFUSED = [
    ("billion laughs", LAUGHS, "YAML_ANCHOR", (1, 4)),
    ("alias", "a: *b", "YAML_ALIAS", (1, 4)),
    ("anchor on a key", "&k a: 1", "YAML_ANCHOR", (1, 1)),
    ("tag", "a:\n  b: !!python/object:os.system x", "YAML_TAG", (2, 6)),
    ("local tag", "a: !mine x", "YAML_TAG", (1, 4)),
    ("the non-specific tag", "a: ! x", "YAML_TAG", (1, 4)),
    ("merge key", "<<: {a: 1}", "YAML_MERGE_KEY", (1, 1)),
    ("duplicate key", "a: 1\nb: 2\na: 3", "YAML_DUPLICATE_KEY", (3, 1)),
    ("duplicate key in flow style", "{a: 1, 'a': 2}", "YAML_DUPLICATE_KEY", (1, 8)),
    ("map as key", "a: {{x}}", "YAML_KEY", (1, 5)),
    ("list as key", "? [a]\n: 1", "YAML_KEY", (1, 3)),
    ("deep flow", "[" * 100_000, "DOCUMENT_TOO_DEEP", (1, 65)),
    ("deep blocks", "- " * 100_000, "DOCUMENT_TOO_DEEP", (1, 129)),
    ("deep maps", "{a: " * 100_000, "DOCUMENT_TOO_DEEP", (1, 257)),
    ("deep keys", "? " * 100_000, "YAML_KEY", (1, 3)),
    ("bad indentation", "a: b: c", "YAML_SYNTAX", (1, 5)),
    ("tab", "a:\n\t- b", "YAML_SYNTAX", (2, 1)),
    ("unclosed quote", 'a: "b', "YAML_SYNTAX", (1, 6)),
    ("control character", "a: x\n b\x07", "YAML_SYNTAX", (2, 3)),
    ("half a pair", "a: \ud800", "YAML_SYNTAX", (1, 4)),
    ("half a pair as an escape", 'a: "\\ud800"', "YAML_SYNTAX", None),
    ("two documents", "a: 1\n---\nb: 2", "YAML_SYNTAX", (2, 1)),
    ("20,000 digits", "a: " + "9" * 20_000, "YAML_NUMBER", (1, 4)),
    ("65 bits", "a: 9223372036854775808", "YAML_NUMBER", (1, 4)),
    ("no digits", "a: 0b_", "YAML_NUMBER", (1, 4)),
    ("not a number", "a: .nan", "YAML_NUMBER", (1, 4)),
    ("infinite", "[-.inf]", "YAML_NUMBER", (1, 2)),
    ("too long a float", "a: 1." + "0" * 200, "YAML_NUMBER", (1, 4)),
    ("too large a float", "a: 1.0e+999", "YAML_NUMBER", (1, 4)),
]


@pytest.mark.parametrize("without_libyaml", [False, True], ids=["libyaml", "python"])
@pytest.mark.parametrize(
    "text, code, place", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_hostile_or_broken_text_is_refused_where_it_is(
    text: str, code: str, place: tuple[int, int] | None, without_libyaml: bool
) -> None:
    problem = refusal(text, without_libyaml=without_libyaml)
    assert problem.code == code
    assert len(problem.message) < 300
    if place is not None:
        assert problem.location == Location(*place)


@pytest.mark.parametrize(
    "text", ["a: " + "x" * 2 * DOCUMENT_BYTES_MAX, "a: " + "é" * (DOCUMENT_BYTES_MAX // 2)]
)
def test_more_than_a_mebibyte_is_refused_unread(text: str) -> None:
    assert refusal(text).code == "DOCUMENT_TOO_LARGE"


def test_a_duplicate_key_names_both_lines() -> None:
    problem = refusal("x:\n  same: 1\n  other: 2\n  same: 3\n")
    assert "first in line 2, again in line 4" in problem.message


@pytest.mark.parametrize("without_libyaml", [False, True], ids=["libyaml", "python"])
def test_plain_scalars_become_json_values(without_libyaml: bool) -> None:
    text = """
        null: ~
        truth: [yes, Off, true]
        numbers: [1, -0x1F, 1_000, 0b11, 1.5, 9223372036854775807]
        texts: ["1", 'true', 1e5, <<, =, "", no way, 1:2:x]
        day: 2025-01-11
        moment: 2001-12-14t21:59:43.10-05:00
        no_day: 2025-99-99
        block: |
          two
          lines
    """
    assert parse_yaml(text, without_libyaml=without_libyaml).data == {
        "null": None,
        "truth": [True, False, True],
        "numbers": [1, -31, 1000, 3, 1.5, 9223372036854775807],
        "texts": ["1", "true", "1e5", "<<", "=", "", "no way", "1:2:x"],
        "day": "2025-01-11",
        "moment": "2001-12-14T21:59:43.100000-05:00",
        "no_day": "2025-99-99",
        "block": "two\nlines\n",
    }


def test_keys_are_texts_as_written() -> None:
    text = "on: 1\n1: 2\n2025-01-11: 3\n'': 4"
    assert list(parse_yaml(text).data) == ["on", "1", "2025-01-11", ""]


def test_an_empty_document_is_null() -> None:
    assert parse_yaml("").data is None
    assert parse_yaml("# nothing\n").data is None


def test_every_key_and_item_has_its_place() -> None:
    document = parse_yaml("nodes:\n  - label: A\n    props: {x: 1}\n  - - deep\n")
    places = {
        ("nodes",): (1, 1),
        ("nodes", 0): (2, 5),
        ("nodes", 0, "props"): (3, 5),
        ("nodes", 0, "props", "x"): (3, 13),
        ("nodes", 1, 0): (4, 7),
        (): (1, 1),
    }
    for path, (line, column) in places.items():
        assert document.location(*path) == Location(line, column)


def test_what_is_missing_has_the_place_of_what_is_around_it() -> None:
    document = parse_yaml("nodes:\n  - label: A\n")
    assert document.location("nodes", 0, "props", "x") == Location(2, 5)
    assert document.location("nodes", 7) == Location(1, 1)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc.-", max_size=5), inner),
    max_leaves=15,
)


@given(value=values)
def test_what_yaml_writes_is_read_as_it_was(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value, sort_keys=False)).data == value


@given(value=values)
def test_json_texts_are_read_as_json_or_refused(value: Any) -> None:
    try:
        read = parse_yaml(json.dumps(value)).data
    except DiagramInvalid:
        return
    assert fault_of(read) is None


@given(
    text=st.text(alphabet=st.sampled_from("ab:-[]{}&*!?|>'\"#%@,. \n\t0\u00e9\u2028"), max_size=60)
)
def test_any_text_gives_json_values_or_one_problem(text: str) -> None:
    try:
        value = parse_yaml(text).data
    except DiagramInvalid as refused:
        problems = refused.problems
    else:
        problems = ()
        assert fault_of(value) is None
    assert len(problems) <= 1
