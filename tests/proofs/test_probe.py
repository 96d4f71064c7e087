"""Growth is found under noise, and noise is no growth."""

from __future__ import annotations

import random

import pytest

from tests.proofs.probe import Sample, growth


def samples(leak: float, seed: int) -> list[Sample]:
    """A server whose memory leaps about, and grows by so many KiB a second."""
    rng = random.Random(seed)
    found = []
    for seconds in range(0, 900, 5):
        spike = rng.choice([0, 0, 0, 0, 0, 20_000])
        memory = int(100_000 + leak * seconds + rng.uniform(-2_000, 2_000) + spike)
        found.append(Sample(seconds, memory, 0, 20, 7, 30, 100_000, 4_000, 0, 0))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_leak_is_found_under_spikes(seed: int) -> None:
    assert growth(samples(20, seed), "memory") == pytest.approx(18_000, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_spikes_are_no_leak(seed: int) -> None:
    assert abs(growth(samples(0, seed), "memory")) < 2_000
    assert growth(samples(0, seed), "files") == 0
