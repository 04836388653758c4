"""The checks of what the network did to packets: how many, lost, late, out of order, twice."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from lab.checks.common import MAX_REFS, Context, failed, found, hold_count, passed, plural, refs, span
from lab.checks.expect import hold_elapsed
from lab.checks.flows import RULES, Pair, no_packets
from lab.evidence.store import Evidence
from lab.evidence.trace import WIRE, Fate, Journey
from lab.link import one_way_delay
from lab.scenario.checks import (
    DuplicatedCheck,
    LossCheck,
    OneWayCheck,
    PacketsCheck,
    ReorderedCheck,
    RetransmissionsCheck,
)
from lab.stats import IMPOSSIBLE, binomial_test, enough_for, interval
from lab.units import Duration
from lab.verdict import Finding

_SEEN = (Fate.RECEIVED, Fate.CORRUPTED, Fate.LOST)  #: what became of these is known


def judge_packets(check: PacketsCheck, evidence: Evidence, context: Context) -> Finding:
    """How many packets that match were sent, were received (each copy counts), or were lost."""
    pair = Pair.of(check.from_, check.to, context)
    where = {"sender": "sent", "receiver": "received", "lost": "lost"}[check.at]
    kind = "packets" if check.match.word == "any" else f"{check.match} packets"
    expected = f"{check.count} {kind} {where}"
    blind = _blind(check.at, pair, evidence)
    if blind:
        return failed(check, "packets", expected, "nothing", blind)
    count, seen = _count(check, pair, evidence)
    nothing_meant = check.count.max == 0
    if count == 0 and not nothing_meant and not evidence.trace.count(pair.source.host, pair.target.host):
        return failed(check, "packets", expected, "no packet", no_packets(pair, evidence))
    held = hold_count(check.count, count, f"{kind} {pair} {where}")
    if not held.ok and count == 0 and kind != "packets":
        total = evidence.trace.count(pair.source.host, pair.target.host)
        held = held.because(f"{held.reason} (of all kinds {plural(total, 'packet')} went that way)")
    return found(check, "packets", held, refs(seen), expected=expected)


def _blind(at: str, pair: Pair, evidence: Evidence) -> str:
    """Why the captures cannot tell, "" where they can: zero packets seen with closed eyes is no zero."""
    needed = {"sender": (pair.source,), "receiver": (pair.target,), "lost": (pair.source, pair.target)}[at]
    if not evidence.captures:
        return no_packets(pair, evidence)
    for one in needed:
        if one.host not in (None, WIRE) and one.host not in evidence.captures:
            return f"there is no capture of {one.host}: which packets it saw is not known"
    return ""


def _count(check: PacketsCheck, pair: Pair, evidence: Evidence) -> tuple[int, list[Journey]]:
    """How many, and the first of them. Counts without making each one where nothing needs to look at it."""
    trace, first = evidence.trace, []
    for journey in pair.journeys(trace, check.match):
        if _fits(check.at, journey):
            first.append(journey)
            if len(first) >= MAX_REFS:
                break
    if len(first) < MAX_REFS:
        return sum(_copies(check.at, j) for j in first), first
    return sum(_copies(check.at, j) for j in pair.journeys(trace, check.match) if _fits(check.at, j)), first


def _fits(at: str, journey: Journey) -> bool:
    if at == "sender":
        return journey.sent is not None
    if at == "receiver":
        return journey.received is not None
    return journey.fate is Fate.LOST


def _copies(at: str, journey: Journey) -> int:
    return 1 + len(journey.copies) if at == "receiver" else 1


def judge_retransmissions(check: RetransmissionsCheck, evidence: Evidence, context: Context) -> Finding:
    """How many segments sent again bytes (or a SYN or FIN) that had been sent before."""
    pair = Pair.of(check.from_, check.to, context)
    sent = [j for j in pair.journeys(evidence.trace) if j.sent is not None]
    expected = f"{check.count} retransmissions"
    if not sent:
        return failed(check, "retransmissions", expected, "no packet", no_packets(pair, evidence))
    again = [j for j in sent if j.is_retransmission]
    held = hold_count(check.count, len(again), f"retransmissions {pair}")
    actual = f"{len(again):,} of {plural(len(sent), 'packet')}"
    return found(check, "retransmissions", held, refs(again), expected=expected, actual=actual)


def judge_one_way(check: OneWayCheck, evidence: Evidence, context: Context) -> Finding:
    """The median time from leaving one host to arriving at the other. `1rtt` is the pair's round trip."""
    pair = Pair.of(check.from_, check.to, context)
    arrived = [j for j in pair.journeys(evidence.trace) if j.delay_ns is not None]
    if not arrived:
        return failed(
            check,
            "one_way",
            f"median {check.delay}",
            "no packet",
            no_packets(pair, evidence, "packet that arrived"),
        )
    delays = sorted((j.delay_ns or 0, j) for j in arrived)
    middle = median(delay for delay, _ in delays)
    rtt = context.rtt(pair.source.host, pair.target.host)
    held = hold_elapsed(check.delay, round(middle), rtt, context.tolerance, f"one way {pair}")
    actual = f"median {span(middle)} of {plural(len(delays), 'packet')}"
    if len(delays) > 1:
        actual += f", {span(delays[0][0])} to {span(delays[-1][0])}"
    typical = [delays[len(delays) // 2][1], delays[0][1], delays[-1][1]]
    if not held.ok:
        configured = _configured(pair, context)
        held = held.because(f"{held.reason}{configured}")
    return found(check, "one_way", held, refs(typical), expected=f"median {held.expected}", actual=actual)


def _configured(pair: Pair, context: Context) -> str:
    source, target = pair.source.host, pair.target.host
    if source in context.links and target in context.links:
        delay: Duration = one_way_delay(context.links[str(source)], context.links[str(target)])
        return f" (configured at first: {delay})"
    return ""


def judge_loss(check: LossCheck, evidence: Evidence, context: Context) -> Finding:
    """Could this share of lost packets be chance, if each is lost with the given probability?

    Packets that a step took by name (a drop rule, a cut, a partition, a host without power) were not left to
    chance and are left out.
    """
    pair = Pair.of(check.from_, check.to, context)
    share = check.rate.fraction
    expected = f"{check.rate} lost"
    journeys = [j for j in pair.journeys(evidence.trace) if j.sent is not None and j.fate in _SEEN]
    taken = sum(j.cause is not None and j.cause.kind in RULES for j in journeys)
    journeys = [j for j in journeys if j.cause is None or j.cause.kind not in RULES]
    lost = [j for j in journeys if j.fate is Fate.LOST]
    n, k = len(journeys), len(lost)
    left_out = f"; {taken:,} more taken by drop, cut, partition or power left out" if taken else ""
    if n == 0:
        reason = no_packets(pair, evidence) + left_out
        return failed(check, "loss", expected, "no packet", reason)
    low, high = interval(k, n)
    actual = f"{k:,} of {n:,} lost ({100 * k / n:.3g} %){left_out}"
    tolerance = f"exact binomial test, p ≥ {IMPOSSIBLE:g}"
    enough = enough_for(share)
    p = binomial_test(k, n, share)
    margin = f"p = {p:.3g}; 99.9 % interval {100 * low:.3g} % to {100 * high:.3g} %"
    if p < IMPOSSIBLE:
        more = "more" if k > n * share else "fewer"
        reason = f"{k:,} of {n:,} packets were lost, {more} than chance allows at {check.rate} (p = {p:.2g})"
    elif n < enough:
        reason = (
            f"too few packets: with {n:,} no loss at all could not be told from {check.rate}; "
            f"at least {enough:,} are needed"
        )
    else:
        return passed(check, "loss", expected, actual, tolerance=tolerance, margin=margin, packets=refs(lost))
    return failed(
        check, "loss", expected, actual, reason, tolerance=tolerance, margin=margin, packets=refs(lost)
    )


def judge_reordered(check: ReorderedCheck, evidence: Evidence, context: Context) -> Finding:
    """How many packets arrived after one that was sent later (RFC 4737)."""
    pair = Pair.of(check.from_, check.to, context)
    arrived = [j for j in pair.journeys(evidence.trace) if j.delay_ns is not None]
    late = [j for j in arrived if j.reordered]
    return _arrivals(check, evidence, pair, "reordered", arrived, len(late), late)


def judge_duplicated(check: DuplicatedCheck, evidence: Evidence, context: Context) -> Finding:
    """How many packets arrived a second time, or more often, though sent once."""
    pair = Pair.of(check.from_, check.to, context)
    arrived = [j for j in pair.journeys(evidence.trace) if j.received is not None]
    twice = [j for j in arrived if j.copies]
    return _arrivals(check, evidence, pair, "duplicated", arrived, sum(len(j.copies) for j in twice), twice)


def _arrivals(
    check: ReorderedCheck | DuplicatedCheck,
    evidence: Evidence,
    pair: Pair,
    name: str,
    arrived: Sequence[Journey],
    count: int,
    journeys: Sequence[Journey],
) -> Finding:
    expected = f"{check.count} {name}"
    if not arrived:
        reason = no_packets(pair, evidence, "packet that arrived")
        return failed(check, name, expected, "no packet", reason)
    held = hold_count(check.count, count, f"packets {name} {pair}")
    actual = f"{count:,} {name} of {len(arrived):,} that arrived"
    return found(check, name, held, refs(journeys), expected=expected, actual=actual)
