"""A server that may have many sockets may open many files."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from dipeo_server.server import allow_open_files

FEW, SOME = 512, 768


@pytest.fixture
def hard() -> Iterator[int]:
    """The hard limit of this process, which may open few files for now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_it_may_open_as_many_as_are_wanted(hard: int) -> None:
    allow_open_files(SOME)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (SOME, hard)


def test_it_never_gives_any_back(hard: int) -> None:
    allow_open_files(FEW // 2)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (FEW, hard)


def test_it_goes_no_further_than_it_may(hard: int) -> None:
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is no hard limit here")
    allow_open_files(hard + 1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
