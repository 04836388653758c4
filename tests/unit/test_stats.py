"""Binomial probabilities against sums of exact fractions and numbers from the literature."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import stats


def exact(n: int, p: Fraction) -> list[Fraction]:
    return [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), k=st.integers(0, 60), percent=st.integers(1, 99))
def test_tails_and_test_agree_with_exact_fractions(n: int, k: int, percent: int) -> None:
    k = min(k, n)
    share = Fraction(percent, 100)
    table = exact(n, share)
    p = percent / 100
    assert stats.at_most(k, n, p) == pytest.approx(float(sum(table[: k + 1])), rel=1e-9)
    assert stats.at_least(k, n, p) == pytest.approx(float(sum(table[k:])), rel=1e-9)
    limit = table[k] * (1 + Fraction(1, 10**7))
    two_sided = float(sum(value for value in table if value <= limit))
    assert stats.binomial_test(k, n, p) == pytest.approx(two_sided, rel=1e-6)


@pytest.mark.parametrize(
    ("k", "n", "p", "expected"),
    [
        (682, 925, 0.75, 0.3825),  # R: binom.test(682, 682 + 243, p = 3/4), Conover's example
        (0, 10, 0.5, 2 * 0.5**10),
        (5, 10, 0.5, 1.0),
        (10, 10, 0.5, 2 * 0.5**10),
    ],
)
def test_known_values(k: int, n: int, p: float, expected: float) -> None:
    assert stats.binomial_test(k, n, p) == pytest.approx(expected, rel=1e-3)


def test_shares_of_none_and_of_all_leave_no_room() -> None:
    assert stats.binomial_test(0, 50, 0.0) == 1.0
    assert stats.binomial_test(1, 50, 0.0) == 0.0
    assert stats.binomial_test(50, 50, 1.0) == 1.0
    assert stats.binomial_test(49, 50, 1.0) == 0.0


def test_a_million_packets_are_quick_and_do_not_underflow() -> None:
    assert stats.binomial_test(50_000, 1_000_000, 0.05) == pytest.approx(1.0, abs=0.01)
    assert stats.binomial_test(0, 1_000_000, 0.05) == 0.0
    assert stats.at_most(500_000, 1_000_000, 0.5) == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.5])
def test_enough_packets_is_the_first_number_where_none_is_impossible(share: float) -> None:
    n = stats.enough_for(share)
    assert stats.binomial_test(0, n, share) < stats.IMPOSSIBLE <= stats.binomial_test(0, n - 1, share)


def test_enough_packets_for_nothing_and_for_all() -> None:
    assert stats.enough_for(0.0) == 0
    assert stats.enough_for(1.0) == 1


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 3000), share=st.floats(0, 1))
def test_interval_holds_the_measured_share_and_ends_at_its_confidence(n: int, share: float) -> None:
    k = round(n * share)
    low, high = stats.interval(k, n, 0.99)
    assert low <= k / n <= high
    if k > 0:
        assert stats.at_least(k, n, low) == pytest.approx(0.005, rel=1e-6)
    if k < n:
        assert stats.at_most(k, n, high) == pytest.approx(0.005, rel=1e-6)


def test_interval_of_nothing_says_nothing() -> None:
    assert stats.interval(0, 0) == (0.0, 1.0)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="not between"):
        stats.binomial_test(3, 2, 0.5)
    with pytest.raises(ValueError, match="no binomial distribution"):
        stats.at_most(1, 2, 1.5)


def test_the_expected_range_leaves_half_the_doubt_at_each_end() -> None:
    low, high = stats.expected_range(2000, 0.05)
    assert stats.at_most(low - 1, 2000, 0.05) <= 0.0005 < stats.at_most(low, 2000, 0.05)
    assert stats.at_least(high + 1, 2000, 0.05) <= 0.0005 < stats.at_least(high, 2000, 0.05)


def test_percentiles() -> None:
    values = [1, 2, 3, 4, 100]
    assert (stats.median(values), stats.median([1, 2, 3, 5])) == (3, 2)
    assert (stats.percentile(values, 0.95), stats.percentile(values, 0.0)) == (100, 1)
