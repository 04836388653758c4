"""The little statistics that the lab needs, exact: binomial tails in log space, percentiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

CONTRADICTION = 1e-6  #: below this probability what was measured contradicts what was configured


def log_pmf(n: int, k: int, p: float) -> float:
    """log P(X = k) for X ~ Binomial(n, p); -inf where it cannot be."""
    if not 0 <= k <= n:
        return -math.inf
    if p <= 0.0:
        return 0.0 if k == 0 else -math.inf
    if p >= 1.0:
        return 0.0 if k == n else -math.inf
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(p) + (n - k) * math.log1p(-p)


def at_least(n: int, k: int, p: float) -> float:
    """P(X ≥ k) for X ~ Binomial(n, p), without cancellation in the far tail."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    if k <= n * p:
        return max(0.0, 1.0 - _sum_down(n, k - 1, p))
    return _sum_up(n, k, p)


def at_most(n: int, k: int, p: float) -> float:
    """P(X ≤ k) for X ~ Binomial(n, p)."""
    return at_least(n, n - k, 1.0 - p)


def _sum_up(n: int, k: int, p: float) -> float:
    """P(X ≥ k) where k is above the mean: the terms fall, each by a factor below 1."""
    log_term = log_pmf(n, k, p)
    if log_term == -math.inf:
        return 0.0
    if p >= 1.0:
        return 1.0
    total = term = 1.0
    odds = p / (1.0 - p)
    for i in range(k, n):
        term *= (n - i) / (i + 1) * odds
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, math.exp(log_term) * total)


def _sum_down(n: int, k: int, p: float) -> float:
    """P(X ≤ k) where k is below the mean."""
    return _sum_up(n, n - k, 1.0 - p)


def two_sided(n: int, k: int, p: float) -> float:
    """How likely a count as far out as `k`: twice the smaller tail, at most 1."""
    return min(1.0, 2.0 * min(at_most(n, k, p), at_least(n, k, p)))


def expected_range(n: int, p: float, confidence: float = 0.999) -> tuple[int, int]:
    """The counts of Binomial(n, p) outside of which each tail holds at most (1 - confidence) / 2."""
    tail = (1.0 - confidence) / 2.0
    return _lowest(0, n, lambda k: at_most(n, k, p) > tail), n - _lowest(
        0, n, lambda k: at_most(n, k, 1.0 - p) > tail
    )


def proportion_interval(n: int, k: int, confidence: float = 0.999) -> tuple[float, float]:
    """The Clopper-Pearson interval of a proportion of which `k` of `n` were seen."""
    tail = (1.0 - confidence) / 2.0
    if n == 0:
        return 0.0, 1.0
    low = 0.0 if k == 0 else _root(lambda p: at_least(n, k, p) < tail)
    high = 1.0 if k == n else _root(lambda p: at_most(n, k, p) > tail)
    return low, high


def _lowest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The lowest number for which `holds`, which stays true from there on."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _root(holds: Callable[[float], bool]) -> float:
    """The number between 0 and 1 up to which `holds` is true, to 1e-9."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2.0
        if holds(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def percentile(ordered: Sequence[int], share: float) -> int:
    """The value below which `share` (0 to 1) of an ordered, non-empty sequence lies: the nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def median(ordered: Sequence[int]) -> int:
    """Of an ordered, non-empty sequence."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2
