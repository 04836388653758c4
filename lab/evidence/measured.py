"""Judging one configured quantity of a link by its packets: ok, too few, or a contradiction.

Every test computes how likely the measurement is on a wire that does what is configured. Noise of the machine
makes packets later, never earlier than netem's timer, and never loses them; so "too early" is tested by
counting, "too late" only by the fastest packets.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from lab.evidence.model import ProofVerdict
from lab.evidence.timeline import longest_ns
from lab.link import GilbertElliott, Impairment
from lab.quantities import duration, percentage, rate
from lab.stats import IMPOSSIBLE, at_least, at_most, interval, log_pmf, median, percentile
from lab.tolerance import Tolerance
from lab.units import Percent

_EARLY_NS = 1_000_000  #: earlier than configured by more than this (and a fifth) is too early
_EARLY_P = 5e-4  #: how often that may happen by chance: two of two packets contradict, four of 1,000 do not
_LATE_NS, _LATE_SHARE = 10_000_000, 0.25  #: the fastest of ten packets may be this late on a busy machine
_LATE_LEAST = 10
_LATE_MOMENTS = 3  #: at so many moments: 45 fragments of one datagram were seen in one stall of 12 ms
APART_NS = 50_000_000  #: sends this far apart do not share a stall, unless the whole machine stops
_RATE_LEAST = 20  #: packets that must have queued for a rate to be measured


@dataclass(slots=True)
class Sample:
    """The packets seen on one path, or on several that share a direction of a link."""

    sent: int = 0  #: packets that reached the other side or were lost at random
    lost: int = 0
    copies: int = 0
    corrupted: int = 0
    delays: array[int] = field(default_factory=lambda: array("q"))
    moments: int = 0  #: sends at least `APART_NS` apart: a stall of the machine makes one of them late
    moment_ns: int = 0  #: the last of them
    passages: dict[tuple[int, int], list[tuple[int, int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Path → (sent, arrived, bytes of the frame) of each packet that arrived, if there is a rate."""

    def arrived(self, t_ns: int, delay_ns: int) -> None:
        """Add a packet sent at `t_ns` that arrived after `delay_ns`. Call in the order of sending."""
        self.delays.append(delay_ns)
        if t_ns - self.moment_ns >= APART_NS:
            self.moments += 1
            self.moment_ns = t_ns

    def add(self, other: Sample) -> None:
        self.sent += other.sent
        self.lost += other.lost
        self.copies += other.copies
        self.corrupted += other.corrupted
        self.delays.extend(other.delays)
        self.moments += other.moments
        for path, passages in other.passages.items():
            self.passages[path].extend(passages)


class Judged(Struct, frozen=True):
    """The judgement of one quantity, as texts."""

    configured: str
    measured: str
    spread: str
    samples: int
    verdict: ProofVerdict
    p: float | None = None
    detail: str = ""


def _fraction(value: Percent | None) -> float:
    return 0.0 if value is None else value.fraction


def _any_of(*shares: float) -> float:
    """Probability that at least one of several independent events happens."""
    return 1.0 - math.prod(1.0 - share for share in shares)


def _both(up: object, down: object) -> str:
    """`5%`, or `5% + 1%` if both sides have it."""
    return " + ".join(str(value) for value in (up, down) if value is not None) or "none"


def judge_delay(sample: Sample, up: Impairment, down: Impairment, tolerance: Tolerance) -> Judged:
    """Judge the one-way delay by its median; too early or too late by tests that fit its jitter."""
    sides = (up, down)
    wanted = sum(side.delay.ns for side in sides if side.delay is not None)
    spread = longest_ns(up, down) - wanted
    configured = _both(up.delay, down.delay)
    jitters = _both(up.jitter, down.jitter)
    if jitters != "none":
        configured += f" ± {jitters}"
    ordered = sorted(sample.delays)
    count = len(ordered)
    if not count:
        return Judged(configured, "nothing", "", 0, "too few", detail="no packet arrived")
    middle = median(ordered)
    measured = duration(middle)
    around = f"p5 {duration(percentile(ordered, 0.05))} … p95 {duration(percentile(ordered, 0.95))}"
    if any(side.correlation is not None and side.correlation.percent for side in sides):
        return Judged(configured, measured, around, count, "ok", detail="correlated jitter: not tested")
    p = _early(ordered, wanted, spread, sides)
    if p < IMPOSSIBLE:
        return Judged(configured, measured, around, count, "contradiction", p, "earlier than configured")
    queued = any(side.rate is not None for side in sides)
    allowed = wanted + spread + max(_LATE_NS, _LATE_SHARE * wanted) + tolerance.machine_ns
    enough = count >= _LATE_LEAST and sample.moments >= _LATE_MOMENTS
    if not queued and enough and ordered[0] > allowed:
        detail = f"even the fastest took {duration(ordered[0])}: later than configured"
        return Judged(configured, measured, around, count, "contradiction", 0.0, detail)
    if count < 2:
        return Judged(configured, measured, around, count, "too few", p)
    return Judged(configured, measured, around, count, "ok", p, "with queueing" if queued else "")


def _early(ordered: list[int], wanted: int, spread: int, sides: tuple[Impairment, Impairment]) -> float:
    """How likely it is that so many packets are this early: below the configured delay (a coin toss with
    jitter), and below anything that jitter can cause."""
    count = len(ordered)
    margin = min(_EARLY_NS, wanted // 5)
    # netem's `reorder` sends that share at once; a copy that arrives first makes a pair look early
    at_once = _any_of(*(_fraction(side.reorder) for side in sides))
    if any(side.gap is not None for side in sides) and at_once:
        at_once = 1.0
    copied = _any_of(*(_fraction(side.duplicate) for side in sides))
    below_all = sum(1 for delay in ordered if delay < wanted - spread - margin)
    p = at_least(below_all, count, _any_of(at_once, _EARLY_P))
    if spread:
        skewed = any(side.distribution in ("pareto", "paretonormal") for side in sides)
        half = _any_of(at_once, 0.75 if skewed else 0.5, copied / 2)
        below = sum(1 for delay in ordered if delay < wanted - margin)
        p = min(1.0, 2.0 * min(p, at_least(below, count, half)))
    return p


def _stationary(model: GilbertElliott) -> tuple[float, float]:
    """Long-run loss of a Gilbert-Elliott model, and how much its bursts reduce the weight of a sample."""
    p, r = model.p.fraction, model.r.fraction
    bad = p / (p + r) if p + r else 0.0
    memory = abs(1.0 - p - r)
    return bad * model.one_minus_h.fraction + (1.0 - bad) * model.one_minus_k.fraction, (1.0 - memory) / (
        1.0 + memory
    )


def judge_loss(sample: Sample, up: Impairment, down: Impairment, tolerance: Tolerance) -> Judged:
    """Judge the share of packets lost at random, by the exact binomial test."""
    sides = (up, down)
    shares: list[float] = []
    worth = 1.0
    for side in sides:
        if side.gemodel is not None:
            share, factor = _stationary(side.gemodel)
            shares.append(share)
            worth = min(worth, factor)
        else:
            shares.append(_fraction(side.loss))
    low = _any_of(*shares)
    high = _any_of(low, *(_fraction(side.corrupt) for side in sides))  # a corrupted header may be dropped too
    configured = _both(
        *(
            "gemodel " + percentage(s) if side.gemodel else side.loss
            for s, side in zip(shares, sides, strict=True)
        )
    )
    few = "no loss at all would look the same"
    judged = _judge_share(configured, sample.sent, sample.lost, low, high, worth=worth, few=few)
    correlated = any(side.loss_correlation is not None and side.loss_correlation.percent for side in sides)
    if correlated and sample.sent:
        return replace(judged, verdict="ok", p=None, detail="correlated loss: not tested")
    return judged


def _outside(n: int, k: int, low: float, high: float) -> float:
    """How likely a count is as far outside as `k`, for any probability from `low` to `high`."""
    if k < n * low:
        return min(1.0, 2.0 * at_most(k, n, low))
    if k > n * high:
        return min(1.0, 2.0 * at_least(k, n, high))
    return 1.0


def judge_duplicate(sample: Sample, up: Impairment, down: Impairment, tolerance: Tolerance) -> Judged:
    """Judge the copies per packet that arrived."""
    share = _any_of(_fraction(up.duplicate), _fraction(down.duplicate))
    lossy = _any_of(*(_fraction(side.loss) for side in (up, down)))
    # a copy made before a lossy stretch may be lost on it; a copy of a copy counts too
    return _judge_share(
        _both(up.duplicate, down.duplicate),
        len(sample.delays),
        sample.copies,
        share * (1.0 - lossy) * 0.8,
        min(1.0, share * 1.25),
    )


def judge_corrupt(sample: Sample, up: Impairment, down: Impairment, tolerance: Tolerance) -> Judged:
    """Judge packets with a flipped bit. A flip in the Ethernet or IP header does not arrive."""
    share = _any_of(_fraction(up.corrupt), _fraction(down.corrupt))
    return _judge_share(
        _both(up.corrupt, down.corrupt), len(sample.delays), sample.corrupted, share * 0.4, share * 1.05
    )


def judge_reorder(sample: Sample, up: Impairment, down: Impairment, tolerance: Tolerance) -> Judged:
    """Judge packets that netem sent at once: their delay is far below the configured one."""
    sides = (up, down)
    wanted = sum(side.delay.ns for side in sides if side.delay is not None and side.reorder is not None)
    total = sum(side.delay.ns for side in sides if side.delay is not None)
    configured = _both(up.reorder, down.reorder)
    early = sum(1 for delay in sample.delays if delay < total - wanted // 2)
    share = _any_of(_fraction(up.reorder), _fraction(down.reorder))
    plain = not any(
        side.jitter or (side.gap or 0) > 1 or (side.reorder_correlation and side.reorder_correlation.percent)
        for side in sides
    )
    both = up.reorder is not None and down.reorder is not None
    if not plain or both:
        count = len(sample.delays)
        measured = f"{early} of {count} at once"
        return Judged(configured, measured, "", count, "ok" if count else "too few", detail="not tested")
    return _judge_share(configured, len(sample.delays), early, share, share)


def _judge_share(
    configured: str, count: int, hits: int, low: float, high: float, *, worth: float = 1.0, few: str = ""
) -> Judged:
    """`worth`: how much one packet tells, less than 1 in bursts; `few`: what to say of too few packets."""
    if not count:
        return Judged(configured, "nothing", "", 0, "too few")
    between = interval(min(hits, count), count)
    measured = f"{percentage(hits / count)} ({hits} of {count})"
    spread = f"99.9 % interval {percentage(between[0])} … {percentage(between[1])}"
    trials = round(count * worth)
    p = _outside(trials, round(min(hits, count) * worth), low, high)
    if p < IMPOSSIBLE:
        return Judged(configured, measured, spread, count, "contradiction", p)
    if low and log_pmf(0, trials, low) > math.log(IMPOSSIBLE):
        return Judged(configured, measured, spread, count, "too few", p, few)
    return Judged(configured, measured, spread, count, "ok", p)


def judge_rate(sample: Sample, up: Impairment, down: Impairment, tolerance: Tolerance) -> Judged:
    """Judge the rate: no packet may arrive before a queue of this rate can have released it. A wire that
    stalled may catch up afterwards, so a peak rate would prove nothing."""
    sides = (up, down)
    limit = min(side.rate.bits_per_second for side in sides if side.rate is not None)
    configured = _both(up.rate, down.rate)
    wanted = sum(side.delay.ns for side in sides if side.delay is not None)
    spread = longest_ns(up, down) - wanted
    burst = max((side.burst.bytes for side in sides if side.burst is not None), default=0)
    allowed = wanted - spread - _EARLY_NS - round(burst * 8e9 / limit)
    paths = list(sample.passages.values())
    if down.rate is not None and up.jitter is not None:  # the queue after the jitter saw another order
        paths = [sorted(passages, key=lambda passage: passage[1]) for passages in paths]
    queues = [_queue(passages, limit, allowed) for passages in paths]
    count, early = sum(q.count for q in queues), sum(q.early for q in queues)
    if not count:
        return Judged(configured, "nothing", "", 0, "too few")
    longest = max(queues, key=lambda queue: queue.busy_count)
    measured = rate(longest.rate) if longest.rate else "not full"
    over = f"while full: {longest.busy_count} packets in {duration(longest.busy_ns)}" if longest.rate else ""
    if any(side.reorder is not None and side.reorder.percent for side in sides):
        return Judged(configured, measured, over, count, "ok", detail="with reorder: not tested")
    p = at_least(early, count, _EARLY_P)
    if p < IMPOSSIBLE:
        detail = f"{early} packets came before a queue of this rate lets them go"
        return Judged(configured, measured, over, count, "contradiction", p, detail)
    if longest.busy_count < _RATE_LEAST:
        return Judged(configured, measured, over, count, "too few", p, "the link was never full")
    return Judged(configured, measured, over, count, "ok", p)


@dataclass(slots=True)
class _Queue:
    """The packets of one path in a simulated queue of the configured rate."""

    count: int = 0
    early: int = 0  #: packets that arrived before it would have released them
    busy_count: int = 0  #: packets of the longest time in which it was never empty
    busy_ns: int = 0  #: from the first to the last arrival of those
    rate: float = 0.0  #: bit/s that arrived in it


def _queue(passages: list[tuple[int, int, int]], limit: int, allowed: int) -> _Queue:
    """Simulate the queue. A packet is early if it arrives before its release plus `allowed` (ns)."""
    found = _Queue(count=len(passages))
    free_ns = 0.0  # when the queue will be empty
    first_ns = carried = members = 0
    for sent_ns, arrived_ns, size in passages:
        # netem counts the Ethernet header too: without it the bound is on the safe side
        takes = (size - 14) * 8e9 / limit
        if sent_ns >= free_ns:
            free_ns = sent_ns + takes
            first_ns, carried, members = arrived_ns, 0, 1
        else:
            free_ns += takes
            carried += size
            members += 1
        if arrived_ns < free_ns + allowed:
            found.early += 1
        if members > found.busy_count and members > 1 and arrived_ns > first_ns:
            found.busy_count, found.busy_ns = members, arrived_ns - first_ns
            found.rate = carried * 8e9 / found.busy_ns
    return found
