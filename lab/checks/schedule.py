"""The check `schedule`: when one segment was sent again and again.

`gaps: kernel` asks whether the kernel kept to its own timers: for a SYN they follow from the live sysctls,
for data from the retransmission timeout that the gaps themselves show (see `lab.checks.kernel`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.checks.calls import connect_call, end_of_socket, set_option
from lab.checks.columns import Packets
from lab.checks.common import Context, allowed, failed, passed, refs
from lab.checks.expect import tolerance_text
from lab.checks.flows import Pair, no_packets
from lab.checks.kernel import Backoff, SynSettings, backoff, syn_plan
from lab.evidence.model import CallRecord
from lab.evidence.packets import ACK, RST, SYN
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow, Journey
from lab.quantities import duration, plural
from lab.scenario.checks import ScheduleCheck
from lab.scenario.ranges import span_ns
from lab.scenario.values import Match
from lab.units import Duration, RoundTrips
from lab.verdict import Finding, Verdict

_LONGEST = 10_000  #: packets looked at where no segment was sent twice: no list of gaps is as long


@dataclass(frozen=True, slots=True)
class _Series:
    """Transmissions of one thing, in order of time; at the sender where its capture has them."""

    journeys: tuple[Journey, ...]
    flow: Flow | None  #: None for what is no TCP connection

    @property
    def gaps_ns(self) -> tuple[int, ...]:
        times = [journey.packet.t_ns for journey in self.journeys]
        return tuple(b - a for a, b in pairwise(times))


def judge_schedule(check: ScheduleCheck, evidence: Evidence, context: Context) -> Finding:
    """Of several connections (or segments) the one that was sent most often is judged, the first of equals;
    with `gaps: kernel` every SYN is held against its own socket's schedule.

    `syn`: the transmissions of one connection's SYN. `data`: those of one TCP segment; where none was sent
    twice (UDP, ICMP, a program that sends at intervals), all packets with payload.
    """
    pair = Pair.of(check.from_, check.to, context)
    series = _series(check, pair, evidence, context)
    expected = "as the kernel's timers say" if check.gaps == "kernel" else _listed(check)
    if series is None:
        what = "SYN" if check.match == "syn" else "packet with data"
        return failed(check, "schedule", expected, "no packet", no_packets(pair, evidence, what))
    if check.gaps != "kernel":
        rtts = _round_trips(series, pair, context, len(check.gaps))
        if any(isinstance(gap, RoundTrips) for gap in check.gaps):
            if None in rtts:
                reason = f"a gap in rtt needs two hosts of the lab; {pair.target} is none: write it in ms"
                return failed(check, "schedule", expected, _gaps_text(series.gaps_ns), reason)
            expected += f" (1rtt is {', then '.join(map(str, dict.fromkeys(rtts)))} here)"
        spans = [span_ns(gap, rtt) for gap, rtt in zip(check.gaps, rtts, strict=True)]
        wanted = [context.tolerance.bounds(ns) for ns in spans]
        return _judge(check, series, wanted, len(wanted), expected, context)
    if check.match == "data":
        return _kernel_data(check, series, evidence, context)
    findings = [_kernel_syn(check, one, evidence, context) for one in _attempts(pair, evidence)]
    longest = _kernel_syn(check, series, evidence, context)
    return next((finding for finding in findings if finding.verdict is Verdict.FAIL), longest)


def _attempts(pair: Pair, evidence: Evidence) -> list[_Series]:
    """Every connection whose SYN was seen."""
    flows = pair.connections(evidence)
    return [_Series(flow.handshake.syn, flow) for flow in flows if flow.handshake.syn]


def _round_trips(series: _Series, pair: Pair, context: Context, count: int) -> list[Duration | None]:
    """The configured round trip when each gap began; of gaps that did not come, when the last packet went."""
    times = [journey.packet.t_ns for journey in series.journeys]
    begins = [times[min(i, len(times) - 1)] for i in range(count)]
    return [context.timeline.rtt(pair.source.host, pair.target.host, at_ns) for at_ns in begins]


def _listed(check: ScheduleCheck) -> str:
    return f"gaps {', '.join(str(gap) for gap in check.gaps)}"


def _series(check: ScheduleCheck, pair: Pair, evidence: Evidence, context: Context) -> _Series | None:
    """What is judged; None where there is nothing."""
    if check.match == "syn":
        flows = pair.connections(evidence)
        best = max(flows, key=lambda flow: len(flow.handshake.syn), default=None)
        if best is None or not best.handshake.syn:
            return None
        return _Series(best.handshake.syn, best)
    going = Packets.of(pair, evidence.trace, context)
    packets = going.matching(Match(word="data"))
    if not len(packets):  # a ping has a payload too, though it is no `data` of TCP or UDP
        packets = going.of_protocol("icmp")
    if not len(packets):
        return None
    everything = evidence.trace.journeys
    most = [everything[i] for i in packets.series()]
    if len(most) < 2:
        return _Series(tuple(everything[i] for i in packets.numbers[:_LONGEST]), None)
    return _Series(tuple(most), None if most[0].flow is None else evidence.trace.flows[most[0].flow])


def _judge(
    check: ScheduleCheck,
    series: _Series,
    wanted: Sequence[tuple[int, int]],
    least: int,
    expected: str,
    context: Context,
) -> Finding:
    """Each gap within its bounds, and as many gaps as bounds; those beyond `least` may be missing."""
    gaps = series.gaps_ns
    actual = _gaps_text(gaps)
    tolerance = tolerance_text(context.tolerance)
    reason, margin = "", ""
    pairs = list(zip(gaps, wanted, strict=False))
    bad = next((i for i, (gap, (low, high)) in enumerate(pairs) if not low <= gap <= high), None)
    if pairs:
        margin = duration(min(min(gap - low, high - gap) for gap, (low, high) in pairs))
    if bad is not None:
        low, high = wanted[bad]
        late = "longer" if gaps[bad] > high else "shorter"
        reason = f"gap {bad + 1} is {duration(gaps[bad])}, {late} than the {allowed(low, high)} allowed"
    elif not least <= len(gaps) <= len(wanted):
        count = str(len(wanted)) if least == len(wanted) else f"{least} or {len(wanted)}"
        reason = f"{plural(len(gaps), 'gap')} ({plural(len(gaps) + 1, 'transmission')}), and not {count}"
    packets = refs(series.journeys)
    if reason:
        return failed(
            check, "schedule", expected, actual, reason, tolerance=tolerance, margin=margin, packets=packets
        )
    return passed(check, "schedule", expected, actual, tolerance=tolerance, margin=margin, packets=packets)


def _gaps_text(gaps: Sequence[int]) -> str:
    return "gaps " + ", ".join(duration(gap) for gap in gaps) if gaps else "one transmission, no gap"


# --- the kernel's own schedule ----------------------------------------------------------------------------


def _kernel_syn(check: ScheduleCheck, series: _Series, evidence: Evidence, context: Context) -> Finding:
    """All SYNs of the plan, up to the moment when an answer, close() or the end of the run ended it."""
    flow = series.flow
    assert flow is not None
    records = evidence.records
    host = records.hosts.get(flow.client.host)
    if host is None:
        reason = f"{flow.client.host} is no host of the lab: its sysctls are not known"
        return failed(check, "schedule", "as the kernel's timers say", _gaps_text(series.gaps_ns), reason)
    call = connect_call(flow, records)
    settings = SynSettings.of(
        host.sysctls,
        syncnt=set_option(call, "TCP_SYNCNT", records),
        user_timeout_ns=(set_option(call, "TCP_USER_TIMEOUT", records) or 0) * 1_000_000,
    )
    plan = syn_plan(settings)
    first = series.journeys[0].packet.t_ns
    begun = list(_sums(plan.gaps_ns, context))
    wanted = [context.tolerance.bounds(gap) for gap in plan.gaps_ns]
    gave_up = call is not None and call.error is not None and call.error.name == "ETIMEDOUT"
    ended, why = _end(flow, call, evidence)
    if not gave_up and ended - first < plan.bounds(context.tolerance)[0]:
        # A timer that was due just before the end may have been late for it.
        wanted = [bound for bound, (early, _) in zip(wanted, begun, strict=True) if first + early <= ended]
        least = sum(first + late < ended for _, late in begun)
        until = f", until {why} after {duration(ended - first)}"
    else:
        least, until = len(wanted), ""
    gaps = ", ".join(duration(gap) for gap in plan.gaps_ns[: len(wanted)]) or "none"
    expected = f"gaps {gaps} ({settings}{until})"
    return _judge(check, series, wanted, least, expected, context)


def _sums(gaps: Sequence[int], context: Context) -> Iterator[tuple[int, int]]:
    """Earliest and latest moment of each transmission after the first."""
    early = late = 0
    for gap in gaps:
        low, high = context.tolerance.bounds(gap)
        early, late = early + low, late + high
        yield early, late


def _end(flow: Flow, call: CallRecord | None, evidence: Evidence) -> tuple[int, str]:
    """When and by what the kernel stopped sending SYNs, if not by giving up."""
    ends = [(evidence.trace.end_ns, "the captures ended")]
    for segment in flow.segments():
        packet = segment.journey.received
        if not segment.from_client and packet is not None and packet.flags & (SYN | ACK | RST):
            ends.append((packet.t_ns, "it was answered"))
            break
    if call is not None:
        if call.error is not None and call.error.name not in (
            "timeout",
            "ETIMEDOUT",
            "EINPROGRESS",
            "EAGAIN",
        ):
            ends.append((call.end_wall_ns, f"connect() failed with {call.error.name}"))
        closed = end_of_socket(call, evidence.records)
        if closed is not None:
            ends.append((closed, "the socket was closed"))
    return min(ends)


def _kernel_data(check: ScheduleCheck, series: _Series, evidence: Evidence, context: Context) -> Finding:
    expected = "each gap twice the last, from the RTO on"
    gaps = series.gaps_ns
    actual = _gaps_text(gaps)
    packets = refs(series.journeys)
    if series.flow is None or len(gaps) < 2:
        reason = (
            f"{plural(len(gaps) if series.flow else 0, 'retransmission')} of any one segment: at least 2 are "
            "needed to see the kernel double its timeout"
        )
        return failed(check, "schedule", expected, actual, reason, packets=packets)
    host = evidence.records.hosts.get(series.journeys[0].source)
    seen: Backoff = backoff(gaps, host.sysctls if host else {}, context.tolerance)
    tolerance = f"{tolerance_text(context.tolerance)}; a late RTO makes its double early by as much"
    distances = [min(gap - low, high - gap) for gap, (low, high) in zip(gaps, seen.bounds_ns, strict=True)]
    margin = duration(min(distances))
    if seen.bad is None:
        probe = ", after a tail loss probe" if seen.first else ""
        actual = f"{actual} (RTO {duration(gaps[seen.first or 0])}{probe})"
        return passed(
            check, "schedule", expected, actual, tolerance=tolerance, margin=margin, packets=packets
        )
    low, high = seen.bounds_ns[seen.bad]
    late = "longer" if gaps[seen.bad] > high else "shorter"
    off = f"gap {seen.bad + 1} is {duration(gaps[seen.bad])}, {late}"
    reason = f"{off} than back-off allows ({allowed(low, high)})"
    return failed(
        check, "schedule", expected, actual, reason, tolerance=tolerance, margin=margin, packets=packets
    )
