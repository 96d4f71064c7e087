"""The JSON of this server: strict when it reads, forgiving when it writes."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.api.json_dialect import LEVELS_MAX, canonical, dumps, loads

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@given(JSON)
def test_every_json_value_comes_back_as_it_went(value: object) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nope",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b"[" * 100_000,
        b"{'a': 1}",
        b"18446744073709551616",
        b'{"a": -9223372036854775809}',
        b"[" + b"9" * 5_000 + b"]",
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


@pytest.mark.parametrize("opens, closes", [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_what_is_nested_too_deeply_is_refused(opens: str, closes: str) -> None:
    levels = LEVELS_MAX // len(opens.split(":")[0].replace('"a"', ""))
    fits = f"{opens * levels}1{closes * levels}"
    assert dumps(loads(fits.encode())) == fits.encode()
    with pytest.raises(ValueError, match="nested beyond 200 levels"):
        loads(f"[{fits}]".encode())


def test_many_things_beside_each_other_are_not_deep() -> None:
    text = b"[" + b",".join([b'{"a":[]}'] * 1_000) + b"]"
    assert len(loads(text)) == 1_000


@pytest.mark.parametrize("levels", [255, 600, 20_000])
def test_depths_that_are_there_by_chance_are_left_out(levels: int) -> None:
    value: object = 1
    for _ in range(levels):
        value = [value]
    assert b"nested too deeply" in dumps({"a": value})


def test_many_digits_in_a_text_are_no_number() -> None:
    assert loads(b'{"id": "99999999999999999999999"}') == {"id": "9" * 23}


def test_a_float_with_many_digits_is_read() -> None:
    assert loads(b"0.12345678901234567890123") == pytest.approx(0.12345678901234568)


def test_what_json_cannot_say_is_written_as_near_as_it_can() -> None:
    value = {"big": 2**70, "nan": float("nan"), "text": "\ud800", 1: {2}}
    assert json.loads(dumps(value)) == {"big": 2**70, "nan": None, "text": "?", "1": "{2}"}


@dataclass
class Wish:
    """Arguments of a mutation."""

    steps: int
    variables: object


def test_the_order_of_keys_does_not_change_the_canonical_form() -> None:
    first = canonical(Wish(1, {"a": 1, "b": [2]}))
    assert first == canonical(Wish(1, {"b": [2], "a": 1}))
    assert first != canonical(Wish(1, {"a": 1, "b": ["2"]}))
