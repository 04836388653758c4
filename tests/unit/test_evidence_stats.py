"""Exact binomials, held against sums of fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from lab.evidence.stats import (
    at_least,
    at_most,
    expected_range,
    median,
    percentile,
    proportion_interval,
    two_sided,
)


def exact(n: int, ks: range, p: Fraction) -> float:
    return float(sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in ks))


@pytest.mark.parametrize("n", [1, 7, 60])
@pytest.mark.parametrize("p", [Fraction(0), Fraction(1, 100), Fraction(1, 2), Fraction(9, 10), Fraction(1)])
def test_tails_are_exact(n: int, p: Fraction) -> None:
    for k in range(-1, n + 2):
        assert at_least(n, k, float(p)) == pytest.approx(
            exact(n, range(max(k, 0), n + 1), p), rel=1e-9, abs=1e-300
        )
        assert at_most(n, k, float(p)) == pytest.approx(
            exact(n, range(min(k, n) + 1), p), rel=1e-9, abs=1e-12
        )


def test_far_tails_and_large_counts() -> None:
    assert at_least(1000, 1000, 0.5) == pytest.approx(2.0**-1000, rel=1e-6)
    assert two_sided(500_000, 25_000, 0.05) > 0.9
    assert two_sided(500_000, 26_000, 0.05) < 1e-6
    assert two_sided(10, 1, 0.0) == 0.0


def test_intervals() -> None:
    low, high = expected_range(2000, 0.05)
    assert at_most(2000, low - 1, 0.05) <= 0.0005 < at_most(2000, low, 0.05)
    assert at_least(2000, high + 1, 0.05) <= 0.0005 < at_least(2000, high, 0.05)
    low_p, high_p = proportion_interval(100, 5, 0.95)
    assert (round(low_p, 4), round(high_p, 4)) == (0.0164, 0.1128)  # Clopper and Pearson's own
    assert proportion_interval(0, 0) == (0.0, 1.0)
    assert proportion_interval(10, 0)[0] == 0.0
    assert proportion_interval(10, 10)[1] == 1.0


def test_percentiles() -> None:
    values = [1, 2, 3, 4, 100]
    assert (median(values), median([1, 2, 3, 5]), percentile(values, 0.95), percentile(values, 0.0)) == (
        3,
        2,
        100,
        1,
    )
