"""Exact binomial probabilities: could this many of that many have come from the configured share?

Pure, in log space, so that 1,000,000 packets and probabilities far below 1e-300 neither overflow nor take
long: a tail is summed outward from its largest term and stops where a term no longer counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

#: Below this a result is not chance but a contradiction: one false alarm in a million checks.
IMPOSSIBLE = 1e-6

_NEGLIGIBLE = 1e-18  # a term this far below the sum so far no longer changes a double


def log_pmf(k: int, n: int, p: float) -> float:
    """ln P(X = k) for X ~ Binomial(n, p); -inf where it cannot be."""
    _check(n, p)
    if not 0 <= k <= n:
        return -math.inf
    if p in (0.0, 1.0):
        return 0.0 if k == n * p else -math.inf
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + k * math.log(p) + (n - k) * math.log1p(-p)


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k): the lower tail."""
    _check(n, p)
    if k < 0:
        return 0.0
    if k >= n or p == 0.0:
        return 1.0
    if p == 1.0:
        return 0.0
    if k > (n + 1) * p:  # beyond the mode: sum the other tail, which is the short one
        return max(0.0, 1.0 - at_least(k + 1, n, p))
    return _sum_outward(k, n, p, -1)


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k): the upper tail."""
    _check(n, p)
    if k <= 0:
        return 1.0
    if k > n or p == 0.0:
        return 0.0
    if p == 1.0:
        return 1.0
    if k < (n + 1) * p - 1:
        return max(0.0, 1.0 - at_most(k - 1, n, p))
    return _sum_outward(k, n, p, +1)


def binomial_test(k: int, n: int, p: float) -> float:
    """Two-sided exact binomial test: the probability of all outcomes that are no likelier than `k`.

    The definition of R's `binom.test` and SciPy's `binomtest`.
    """
    _check(n, p)
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n}: not between 0 and all")
    seen = log_pmf(k, n, p)
    if seen == -math.inf:
        return 0.0
    if p in (0.0, 1.0):
        return 1.0
    limit = seen + 1e-7  # equal up to rounding counts as equal (the 1 + 1e-7 of R)
    mode = min(n, int((n + 1) * p))
    if log_pmf(mode, n, p) <= limit:
        return 1.0
    if k < mode:  # the first outcome above the mode that is no likelier
        other = _first(mode, n + 1, lambda j: log_pmf(j, n, p) <= limit)
        return min(1.0, at_most(k, n, p) + at_least(other, n, p))
    # the last outcome below the mode that is no likelier: one before the first that is likelier
    other = _first(0, mode, lambda j: log_pmf(j, n, p) > limit) - 1
    return min(1.0, at_least(k, n, p) + at_most(other, n, p))


def enough_for(p: float, alpha: float = IMPOSSIBLE) -> int:
    """The smallest n for which 0 of n contradicts `p` (has a probability below `alpha`).

    0 if p is 0: then none is expected.
    """
    _check(0, p)
    if p == 0.0:
        return 0
    if p == 1.0:
        return 1
    upper = 1
    while binomial_test(0, upper, p) >= alpha:
        upper *= 2
    return _first(upper // 2, upper, lambda n: binomial_test(0, n, p) < alpha)


def interval(k: int, n: int, confidence: float = 0.999) -> tuple[float, float]:
    """Clopper-Pearson: all shares that `k` of `n` does not contradict, by bisection; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n}: not between 0 and all")
    half = (1 - confidence) / 2
    low = 0.0 if k == 0 else _root(lambda p: at_least(k, n, p) >= half)
    high = 1.0 if k == n else _root(lambda p: at_most(k, n, p) < half)
    return low, high


def expected_range(n: int, p: float, confidence: float = 0.999) -> tuple[int, int]:
    """The counts of Binomial(n, p) outside which each tail holds at most (1 - confidence) / 2."""
    tail = (1.0 - confidence) / 2.0
    low = _first(0, n, lambda k: at_most(k, n, p) > tail)
    return low, n - _first(0, n, lambda k: at_least(n - k, n, p) > tail)


def percentile(ordered: Sequence[int], share: float) -> int:
    """The value below which `share` (0 to 1) of an ordered, non-empty sequence lies: the nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def median(ordered: Sequence[int]) -> int:
    """The median of an ordered, non-empty sequence."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def _check(n: int, p: float) -> None:
    if n < 0 or not 0.0 <= p <= 1.0:
        raise ValueError(f"no binomial distribution of n={n}, p={p}")


def _sum_outward(k: int, n: int, p: float, step: int) -> float:
    """Sum of P(X = j) for j = k, k ± 1, …: away from the mode, where each term is smaller than the last."""
    odds = p / (1.0 - p)
    term = total = 1.0
    j = k
    while term > total * _NEGLIGIBLE:
        if step > 0:
            if j >= n:
                break
            term *= (n - j) / (j + 1) * odds
        else:
            if j <= 0:
                break
            term *= j / (n - j + 1) / odds
        j += step
        total += term
    log = log_pmf(k, n, p) + math.log(total)
    return min(1.0, math.exp(log)) if log > -745.0 else 0.0


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first j in low … high - 1 for which `holds` (false, then true); `high` where it never does."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _root(holds: Callable[[float], bool]) -> float:
    """The share in 0 … 1 where `holds` turns from false to true."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return (low + high) / 2
