"""The checks of packets on the network: counts, losses, delays, reordering, duplicates."""

from __future__ import annotations

from statistics import median

from msgspec import Struct

from lab.attachment import WIRE
from lab.checks.columns import Packets
from lab.checks.common import Context, failed, finding, found, hold_count, refs
from lab.checks.expect import hold_elapsed
from lab.checks.flows import Pair, no_packets
from lab.checks.moments import Window
from lab.checks.which import Which, choose, picks
from lab.evidence.store import Evidence
from lab.quantities import duration, percentage, plural
from lab.scenario.checks import (
    DuplicatedCheck,
    LossCheck,
    OneWayCheck,
    PacketsCheck,
    ReorderedCheck,
    RetransmissionsCheck,
    TimedCheck,
)
from lab.scenario.ranges import Range
from lab.stats import IMPOSSIBLE, binomial_test, enough_for, interval
from lab.verdict import Finding


class _Looked(Struct, frozen=True):
    """The packets that a check examines, or why there are none."""

    packets: Packets
    window: Window
    reason: str = ""


def _look(
    check: TimedCheck, pair: Pair, evidence: Evidence, context: Context, which: Which | None = None
) -> _Looked:
    """The packets of a pair in the check's window; only those of its connections if it selects some."""
    window = Window.of(check, evidence.records)
    packets = Packets.of(pair, evidence.trace, context)
    if window.missing:
        return _Looked(packets.without(packets), window, window.missing)
    if which is not None and picks(which):
        chosen = choose(which, pair.flows(evidence), pair, evidence)
        packets = packets.of_flows(chosen.flows)
        if not chosen.flows:
            return _Looked(packets, window, chosen.reason)
    return _Looked(packets.within(window), window)


def judge_packets(check: PacketsCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge how many matching packets were sent, received (each copy counts), or lost."""
    pair = Pair.of(check.from_, check.to, context)
    where = {"sender": "sent", "receiver": "received", "lost": "lost"}[check.at]
    noun = "packet" if check.match.word == "any" else f"{check.match} packet"
    kind = f"{noun}s"
    blind = _blind(check.at, pair, evidence)
    looked = _look(check, pair, evidence, context, check)
    where += looked.window.text
    expected = f"{check.count} {noun if check.count.exact == 1 else kind} {where}"
    if blind or looked.reason:
        return failed(check, "packets", expected, "nothing", blind or looked.reason)
    matching = looked.packets.matching(check.match, at_receiver=check.at == "receiver")
    if check.at == "sender":
        meant = matching.sent
    else:
        meant = matching.received if check.at == "receiver" else matching.lost
    count = len(meant) + (meant.copies if check.at == "receiver" else 0)
    if count == 0 and check.count.max != 0:
        total = len(Packets.of(pair.hosts, evidence.trace, context))
        if not total:
            return failed(check, "packets", expected, "no packet", no_packets(pair.hosts, evidence))
        held = hold_count(check.count, count, f"{kind} {pair} {where}")
        if not held.ok:
            held = held.because(f"{held.reason} (of all kinds {plural(total, 'packet')} went that way)")
        return found(check, "packets", held, expected=expected, actual=f"no {kind} {where}")
    held = hold_count(check.count, count, f"{kind} {pair} {where}")
    actual = f"{plural(count, noun)} {where}"
    return found(check, "packets", held, meant.refs(), expected=expected, actual=actual)


def _absent(count: Range, pair: Pair, evidence: Evidence, context: Context) -> bool:
    """Whether no packet is expected. If none ever went that way, there is nothing to judge."""
    return count.max == 0 and len(Packets.of(pair, evidence.trace, context)) > 0


def _blind(at: str, pair: Pair, evidence: Evidence) -> str:
    """Why the captures cannot tell, "" if they can: no packet in a missing capture is no evidence."""
    needed = {"sender": (pair.source,), "receiver": (pair.target,), "lost": (pair.source, pair.target)}[at]
    if not evidence.captures:
        return no_packets(pair, evidence)
    for one in needed:
        if one.host not in (None, WIRE) and one.host not in evidence.captures:
            return f"there is no capture of {one.host}: which packets it saw is not known"
    return ""


def judge_retransmissions(check: RetransmissionsCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge how many segments repeat bytes (or a SYN or FIN) that had been sent before."""
    pair = Pair.of(check.from_, check.to, context)
    looked = _look(check, pair, evidence, context, check)
    sent = looked.packets.sent
    expected = f"{check.count} retransmissions{looked.window.text}"
    blind = _blind("sender", pair, evidence)
    if looked.reason or blind or (not len(sent) and not _absent(check.count, pair, evidence, context)):
        reason = looked.reason or blind or no_packets(pair, evidence)
        return failed(check, "retransmissions", expected, "no packet", reason)
    again = sent.sent_again
    held = hold_count(check.count, len(again), f"retransmissions {pair}")
    actual = f"{len(again):,} of {plural(len(sent), 'packet')}"
    return found(check, "retransmissions", held, again.refs(), expected=expected, actual=actual)


def judge_one_way(check: OneWayCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge the median time from leaving one host to arriving at the other. `1rtt` is the pair's round trip
    when the median packet was sent."""
    pair = Pair.of(check.from_, check.to, context)
    looked = _look(check, pair, evidence, context)
    delays = sorted(looked.packets.delays_ns())
    if not delays:
        reason = looked.reason or no_packets(pair, evidence, f"packet that arrived{looked.window.text}")
        return failed(check, "one_way", f"median {check.delay}", "no packet", reason)
    middle = round(median(delay for delay, _ in delays))
    sent_ns = evidence.trace.journeys[delays[len(delays) // 2][1]].packet.t_ns
    rtt = context.timeline.rtt(pair.source.host, pair.target.host, sent_ns)
    held = hold_elapsed(check.delay, middle, rtt, context.tolerance, f"one way {pair}")
    actual = f"median {duration(middle)} of {plural(len(delays), 'packet')}"
    if len(delays) > 1:
        actual += f", {duration(delays[0][0])} to {duration(delays[-1][0])}"
    if not held.ok:
        held = held.because(f"{held.reason}{_configured(pair, context, sent_ns)}")
    typical = dict.fromkeys(delays[index][1] for index in (len(delays) // 2, 0, -1))
    packets = refs(evidence.trace.journeys[i] for i in typical)
    return found(check, "one_way", held, packets, expected=f"median {held.expected}", actual=actual)


def _configured(pair: Pair, context: Context, at_ns: int) -> str:
    delay = context.timeline.one_way(pair.source.host, pair.target.host, at_ns)
    return "" if delay is None else f" (configured then: {delay})"


def judge_loss(check: LossCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge whether this share of lost packets could be chance at the given probability.

    Packets that a step dropped explicitly (a drop rule, a cut, a partition, a host without power) are not
    chance, and are left out.
    """
    pair = Pair.of(check.from_, check.to, context)
    share = check.rate.fraction
    expected = f"{check.rate} lost"
    looked = _look(check, pair, evidence, context)
    decided = looked.packets.decided
    taken = decided.taken_by_name
    left = decided.without(taken)
    lost = left.lost
    n, k = len(left), len(lost)
    left_out = f"; {len(taken):,} more taken by drop, cut, partition or power left out" if len(taken) else ""
    if n == 0:
        reason = (looked.reason or no_packets(pair, evidence)) + left_out
        return failed(check, "loss", expected, "no packet", reason)
    low, high = interval(k, n)
    actual = f"{k:,} of {n:,} lost ({percentage(k / n)}){left_out}"
    tolerance = f"exact binomial test, p ≥ {IMPOSSIBLE:g}"
    enough = enough_for(share)
    p = binomial_test(k, n, share)
    margin = f"p = {p:.3g}; 99.9 % interval {percentage(low)} to {percentage(high)}"
    reason = ""
    if p < IMPOSSIBLE:
        more = "more" if k > n * share else "fewer"
        reason = f"{k:,} of {n:,} packets were lost, {more} than chance allows at {check.rate} (p = {p:.2g})"
    elif n < enough:
        reason = (
            f"too few packets: with {n:,} no loss at all could not be told from {check.rate}; "
            f"at least {enough:,} are needed"
        )
    return finding(
        check, "loss", expected, actual, reason, tolerance=tolerance, margin=margin, packets=lost.refs()
    )


def judge_reordered(check: ReorderedCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge how many packets arrived after one that was sent later (RFC 4737)."""
    pair = Pair.of(check.from_, check.to, context)
    looked = _look(check, pair, evidence, context)
    arrived = looked.packets.sent.received
    late = arrived.reordered
    return _arrivals(check, evidence, context, pair, looked, len(arrived), len(late), late)


def judge_duplicated(check: DuplicatedCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge how many packets arrived more than once though sent once."""
    pair = Pair.of(check.from_, check.to, context)
    looked = _look(check, pair, evidence, context)
    arrived = looked.packets.received
    twice = arrived.duplicated
    return _arrivals(check, evidence, context, pair, looked, len(arrived), twice.copies, twice)


def _arrivals(
    check: ReorderedCheck | DuplicatedCheck,
    evidence: Evidence,
    context: Context,
    pair: Pair,
    looked: _Looked,
    arrived: int,
    count: int,
    which: Packets,
) -> Finding:
    name = check.check
    expected = f"{check.count} {name}{looked.window.text}"
    blind = _blind("lost", pair, evidence)
    if looked.reason or blind or (not arrived and not _absent(check.count, pair, evidence, context)):
        reason = looked.reason or blind or no_packets(pair, evidence, "packet that arrived")
        return failed(check, name, expected, "no packet", reason)
    held = hold_count(check.count, count, f"packets {name} {pair}")
    actual = f"{count:,} {name} of {arrived:,} that arrived"
    return found(check, name, held, which.refs(), expected=expected, actual=actual)
