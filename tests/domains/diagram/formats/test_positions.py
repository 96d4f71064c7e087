"""Where nodes stand on the canvas, in the forms in which that is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.formats.positions import position_of, written_position


@pytest.mark.parametrize(
    "raw, position",
    [
        (None, (0, 0)),
        ({}, (0, 0)),
        ({"x": 1}, (1, 0)),
        ({"x": 1, "y": -2.5}, (1, -2.5)),
        ([3, 4], (3, 4)),
        ({"x": "1"}, None),
        ({"x": 1, "z": 2}, None),
        ([1, 2, 3], None),
        ("1,2", None),
    ],
)
def test_a_position_is_a_map_or_a_pair(raw: object, position: tuple[float, float] | None) -> None:
    assert position_of(raw) == position


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(position=st.tuples(numbers, numbers))
def test_what_is_written_is_read_as_it_was(position: tuple[float, float]) -> None:
    assert position_of(written_position(position)) == position


def test_whole_numbers_have_no_fraction() -> None:
    assert repr(written_position((100.0, 0.5))) == "{'x': 100, 'y': 0.5}"
