"""Unknown fields are kept beside the known ones, whatever they are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.diagram.formats.extras import unknown_fields, with_unknown_fields

OWN = ("label", "type")

fields = st.dictionaries(
    st.sampled_from(["label", "type", "a", "b", "$extra"]),
    st.integers(0, 3) | st.dictionaries(st.sampled_from(["label", "a", "$extra"]), st.just(0)),
)


@given(extra=fields)
def test_what_is_written_is_read_as_it_was(extra: dict[str, object]) -> None:
    written = with_unknown_fields({"label": "known"}, extra, OWN)
    assert written["label"] == "known"
    assert unknown_fields(written, OWN) == extra


@pytest.mark.parametrize(
    "raw, found",
    [
        ({"label": 1, "a": 2}, {"a": 2}),
        ({"$extra": {"label": 1}, "a": 2}, {"label": 1, "a": 2}),
        ({"$extra": 7}, {"$extra": 7}),
        ({"$extra": {"a": 1}, "a": 2}, {"$extra": {"a": 1}, "a": 2}),
    ],
)
def test_what_somebody_else_wrote_below_extra_is_not_lost(
    raw: dict[str, object], found: dict[str, object]
) -> None:
    assert unknown_fields(raw, OWN) == found
