"""What clients send is kept only as far as there is room."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.persisted import PersistedDocuments
from dipeo_server.api.prepared import CHARACTERS_TOTAL_MAX, PreparedDocuments
from dipeo_server.api.recent import Recent


def test_what_was_used_last_is_there() -> None:
    recent: Recent[str, int] = Recent(2, 100)
    recent.keep("a", 1, 1)
    recent.keep("b", 2, 1)
    assert recent.get("a") == 1
    recent.keep("c", 3, 1)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_one_that_is_too_long_is_not_kept() -> None:
    recent: Recent[str, int] = Recent(2, 10)
    recent.keep("a", 1, 11)
    assert recent.get("a") is None
    recent.keep("a", 1, 10)
    assert recent.get("a") == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40))
def test_all_that_is_kept_has_room(kept: list[tuple[int, int]]) -> None:
    recent: Recent[int, int] = Recent(3, 20)
    for key, size in kept:
        recent.keep(key, size, size)
        assert recent.get(key) == size  # the newest one is there, whatever had to go
        there = [found for each in range(6) if (found := recent.get(each)) is not None]
        assert len(there) <= 3
        assert sum(there) <= 20


def test_parsed_documents_have_a_limit_in_all() -> None:
    prepared = PreparedDocuments(ApiLimits())
    padding = " " * 10_000
    texts = [f"query Q{each} {{ me {{ name }} }}{padding}" for each in range(100)]
    documents = {text: prepared.parsed(text) for text in texts}
    kept = [text for text in reversed(texts) if prepared.parsed(text) is documents[text]]
    assert 0 < sum(map(len, kept)) <= CHARACTERS_TOTAL_MAX + len(texts[0])


def test_persisted_documents_have_a_limit_in_all() -> None:
    persisted = PersistedDocuments(limits=ApiLimits(persisted_characters=100))
    texts = [f"{{ a{each} }}".ljust(100) for each in range(100)]
    names = []
    for text in texts:
        digest = hashlib.sha256(text.encode()).hexdigest()
        names.append({"persistedQuery": {"version": 1, "sha256Hash": digest}})
        assert persisted.text(text, names[-1]) == text
    assert [persisted.text(None, name) for name in names[-32:]] == texts[-32:]
