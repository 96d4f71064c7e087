"""How often something may be done, with time as an argument."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.access import rates
from dipeo_server.domains.access.rates import Rate, RateLimiter


def test_a_burst_is_followed_by_a_steady_rate() -> None:
    limiter = RateLimiter(Rate(2, 8.0))
    for _ in range(2):
        assert limiter.wait("ann", 0.0) == 0
        limiter.take("ann", 0.0)
    assert limiter.wait("ann", 0.0) == 4.0
    assert limiter.wait("ann", 3.0) == 1.0
    assert limiter.wait("ann", 4.0) == 0
    limiter.take("ann", 4.0)
    assert limiter.wait("ann", 4.0) == 4.0


def test_everybody_has_a_bucket_of_their_own() -> None:
    limiter = RateLimiter(Rate(1))
    limiter.take("ann", 0.0)
    assert limiter.wait("ann", 0.0) > 0
    assert limiter.wait("bob", 0.0) == 0


def test_more_than_fits_is_never_allowed() -> None:
    assert RateLimiter(Rate(3)).wait("ann", 0.0, 4) == math.inf
    assert RateLimiter(Rate(0)).wait("ann", 1e9) == math.inf


def test_a_clock_that_goes_back_fills_nothing() -> None:
    limiter = RateLimiter(Rate(1))
    limiter.take("ann", 100.0)
    assert limiter.wait("ann", 50.0) > 0
    assert limiter.wait("ann", 101.0) == 0


def test_only_so_many_are_remembered() -> None:
    limiter = RateLimiter(Rate(1))
    for number in range(rates.BUCKETS_MAX + 1):
        limiter.take(str(number), 0.0)
    assert limiter.wait("0", 0.0) == 0
    assert limiter.wait("1", 0.0) > 0


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 5))
def test_in_no_second_more_is_done_than_a_burst_and_the_rate(
    pauses: list[float], count: int
) -> None:
    limiter = RateLimiter(Rate(count))
    now, done = 0.0, []
    for pause in pauses:
        now += pause
        if limiter.wait("ann", now) == 0:
            limiter.take("ann", now)
            done.append(now)
    for start in done:
        in_a_second = [at for at in done if start <= at < start + 0.999]
        assert len(in_a_second) <= 2 * count
