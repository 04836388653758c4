"""The check `schedule`: the times at which one segment was sent repeatedly.

`gaps: kernel` checks that the kernel kept to its own timers: for a SYN they follow from the live sysctls, for
data from the retransmission timeout that the gaps themselves show (see `lab.checks.kernel`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from lab.checks.calls import connect_call, end_of_socket, set_option
from lab.checks.columns import Packets
from lab.checks.common import Context, allowed, failed, finding, refs
from lab.checks.expect import tolerance_text
from lab.checks.flows import Pair, no_packets
from lab.checks.kernel import Backoff, SynSettings, backoff, first_outside, syn_plan
from lab.checks.moments import Window
from lab.checks.which import choose, ordinal, picks
from lab.evidence.model import CallRecord
from lab.evidence.packets import ACK, RST, SYN
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow, Journey
from lab.quantities import duration, plural
from lab.scenario.checks import ScheduleCheck
from lab.scenario.matches import Match
from lab.scenario.ranges import span_ns
from lab.units import Duration, RoundTrips
from lab.verdict import Finding, Verdict

_PROBES = ("keep-alive", "zero window probe")
_KEEPALIVE_INTERVAL = "net.ipv4.tcp_keepalive_intvl"
_TICKS_NS = 25_000_000  #: TCP_TIMEOUT_MIN, two ticks: 20 ms at 100 ticks a second, and a timer's lateness
_LONGEST = 10_000  #: packets examined if no segment was sent twice: no list of gaps is as long


class _Series(Struct, frozen=True):
    """Transmissions of one segment, in order of time; at the sender if its capture has them."""

    journeys: tuple[Journey, ...]
    flow: Flow | None  #: None if it is not a TCP connection

    @property
    def constant(self) -> bool:
        """Whether they are keepalive probes, which come at one interval; window probes back off."""
        return all(journey.mark == "keep-alive" for journey in self.journeys)

    @property
    def gaps_ns(self) -> tuple[int, ...]:
        times = [journey.packet.t_ns for journey in self.journeys]
        return tuple(b - a for a, b in pairwise(times))


def judge_schedule(check: ScheduleCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge every connection that sent such a segment, by the segment that it sent most often.

    `syn`, `syn-ack`, `fin`: the transmissions of that segment. `probe`: keepalive and window probes. `data`:
    those of one TCP segment; if none was sent twice (UDP, ICMP, a program that sends at intervals), all
    packets with payload.
    """
    pair = Pair.of(check.from_, check.to, context)
    window = Window.of(check, evidence.records)
    expected = "as the kernel's timers say"
    if check.gaps != "kernel":
        expected = f"gaps {', '.join(map(str, check.gaps))}"
    expected += window.text
    if window.missing:
        return failed(check, "schedule", expected, "no packet", window.missing)
    every, reason = _every(check, pair, window, evidence, context)
    if not every:
        what = {"syn": "SYN", "syn-ack": "SYN-ACK", "fin": "FIN", "probe": "probe"}.get(check.match)
        reason = (picks(check) and reason) or no_packets(
            pair, evidence, (what or "packet with data") + window.text
        )
        return failed(check, "schedule", expected, "no packet", reason)
    findings = [_judged(check, one, pair, expected, evidence, context) for one in every]
    bad = next((number for number, one in enumerate(findings) if one.verdict is Verdict.FAIL), None)
    if bad is None:
        return findings[every.index(max(every, key=lambda one: len(one.journeys)))]
    if len(findings) == 1:
        return findings[0]
    flow, good = every[bad].flow, sum(one.verdict is Verdict.PASS for one in findings)
    name = "" if flow is None else f", {flow.name}"
    said = f"{good} of {len(findings)} connections hold; the {ordinal(bad + 1)}{name}: {findings[bad].reason}"
    return replace(findings[bad], reason=said)


def _judged(
    check: ScheduleCheck, series: _Series, pair: Pair, expected: str, evidence: Evidence, context: Context
) -> Finding:
    """The finding of one series."""
    if check.gaps == "kernel":
        if check.match == "syn":
            return _kernel_syn(check, series, evidence, context)
        if check.match == "probe" and series.constant:
            return _kernel_keepalive(check, series, evidence, context)
        return _kernel_data(check, series, evidence, context)
    rtts = _round_trips(series, pair, context, len(check.gaps))
    if any(isinstance(gap, RoundTrips) for gap in check.gaps):
        if None in rtts:
            reason = f"a gap in rtt needs two hosts of the lab; {pair.target} is not one: write it in ms"
            return failed(check, "schedule", expected, _gaps_text(series.gaps_ns), reason)
        expected += f" (1rtt is {', then '.join(map(str, dict.fromkeys(rtts)))} here)"
    spans = [span_ns(gap, rtt) for gap, rtt in zip(check.gaps, rtts, strict=True)]
    wanted = [context.tolerance.bounds(ns) for ns in spans]
    return _judge(check, series, wanted, len(wanted), expected, context)


def _round_trips(series: _Series, pair: Pair, context: Context, count: int) -> list[Duration | None]:
    """The configured round trip at the start of each gap; for missing gaps, when the last packet was sent."""
    times = [journey.packet.t_ns for journey in series.journeys]
    begins = [times[min(i, len(times) - 1)] for i in range(count)]
    return [context.timeline.rtt(pair.source.host, pair.target.host, at_ns) for at_ns in begins]


def _every(
    check: ScheduleCheck, pair: Pair, window: Window, evidence: Evidence, context: Context
) -> tuple[list[_Series], str]:
    """The series to judge, one for each connection, and why there is none if the connections tell."""
    if check.match == "syn":
        chosen = choose(check, pair.connections(evidence), pair, evidence)
        found = [_Series(_within(flow.handshake.syn, window), flow) for flow in chosen.flows]
    else:
        flows = [flow for flow in pair.flows(evidence) if flow.protocol == "tcp" or not picks(check)]
        chosen = choose(check, flows, pair, evidence)
        if picks(check) and not chosen.flows:
            return [], chosen.reason
        if check.match == "data":
            return _data_series(chosen.flows if picks(check) else None, pair, window, evidence, context), ""
        tcp = [flow for flow in chosen.flows if flow.protocol == "tcp"]
        found = [_Series(_within(_sent(flow, check.match, pair), window), flow) for flow in tcp]
    return [one for one in found if one.journeys], chosen.reason


def _within(journeys: Iterable[Journey], window: Window) -> tuple[Journey, ...]:
    return tuple(journey for journey in journeys if window.holds(journey.packet.t_ns))


def _sent(flow: Flow, match: str, pair: Pair) -> tuple[Journey, ...]:
    """The SYN-ACKs, FINs or probes that the pair's source sent in a connection."""
    if match == "probe":
        return tuple(j for j in flow if j.mark in _PROBES and _from(j, flow, pair))
    if match == "fin":
        return tuple(j for j in (*flow.close.fin_client, *flow.close.fin_server) if _from(j, flow, pair))
    both = (flow.handshake, flow.turned.handshake) if flow.simultaneous else (flow.handshake,)
    return tuple(j for shake in both for j in shake.syn_ack if _from(j, flow, pair))


def _from(journey: Journey, flow: Flow, pair: Pair) -> bool:
    """Whether the pair's source sent it."""
    here = (journey.packet.source, journey.packet.sport)
    ends = (end for end in (flow.client, flow.server) if (end.address, end.port) == here)
    return any(pair.source.is_end(end) for end in ends)


def _data_series(
    flows: Sequence[Flow] | None, pair: Pair, window: Window, evidence: Evidence, context: Context
) -> list[_Series]:
    """For each connection with data (`flows` None: for all), the segment that was sent most often."""
    going = Packets.of(pair, evidence.trace, context).within(window)
    if flows is not None:
        going = going.of_flows(flows)
    packets = going.matching(Match(word="data"))
    if not len(packets):  # a ping has a payload too, though it is no `data` of TCP or UDP
        packets = going.of_protocol("icmp")
    if not len(packets):
        return []
    everything = evidence.trace.journeys
    most = [[everything[i] for i in numbers] for numbers in packets.series()]
    if not any(len(one) > 1 for one in most):
        return [_Series(tuple(everything[i] for i in packets.numbers[:_LONGEST]), None)]
    return [
        _Series(tuple(one), None if one[0].flow is None else evidence.trace.flows[one[0].flow])
        for one in most
        if one
    ]


def _judge(
    check: ScheduleCheck,
    series: _Series,
    wanted: Sequence[tuple[int, int]],
    least: int,
    expected: str,
    context: Context,
) -> Finding:
    """Judge each gap by its bounds, and the number of gaps; those beyond `least` may be missing."""
    gaps = series.gaps_ns
    actual = _gaps_text(gaps)
    tolerance = tolerance_text(context.tolerance)
    reason, margin = "", ""
    pairs = list(zip(gaps, wanted, strict=False))
    bad = first_outside(gaps, wanted)
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
    return finding(
        check, "schedule", expected, actual, reason, tolerance=tolerance, margin=margin, packets=packets
    )


def _gaps_text(gaps: Sequence[int]) -> str:
    return "gaps " + ", ".join(duration(gap) for gap in gaps) if gaps else "one transmission, no gap"


# --- the kernel's own schedule ----------------------------------------------------------------------------


def _kernel_syn(check: ScheduleCheck, series: _Series, evidence: Evidence, context: Context) -> Finding:
    """Judge all SYNs of the plan, until an answer, close() or the end of the run ended it."""
    flow = series.flow
    assert flow is not None
    records = evidence.records
    host = records.hosts.get(flow.client.host)
    if host is None:
        reason = f"{flow.client.host} is not a host of the lab: its sysctls are unknown"
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
    challenged = _challenged(flow, series, evidence)
    if challenged is not None:
        return _after_challenge(check, series, challenged - first, wanted, context)
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


def _challenged(flow: Flow, series: _Series, evidence: Evidence) -> int | None:
    """When an answer to the first SYN came that acknowledges something else: an earlier connection of the
    same addresses and ports, which the server still has. The kernel resets that, and sends its SYN again at
    once (`tcp_rcv_synsent_state_process`: the timer is set to TCP_TIMEOUT_MIN if none had expired before)."""
    until = series.journeys[1].packet.t_ns if len(series.journeys) > 1 else evidence.trace.end_ns
    before = flow.previous
    while before is not None:
        earlier = evidence.trace.flows[before]
        for journey in earlier:
            packet = journey.received
            if (
                packet is not None
                and journey.target == flow.client.host
                and packet.flags & (SYN | ACK | RST) == ACK
                and series.journeys[0].packet.t_ns < packet.t_ns < until
            ):
                return packet.t_ns
        before = earlier.previous
    return None


def _after_challenge(
    check: ScheduleCheck,
    series: _Series,
    came_ns: int,
    wanted: Sequence[tuple[int, int]],
    context: Context,
) -> Finding:
    """The first gap ends with the answer that fits no SYN of ours; after it the timers run as usual."""
    low, high = came_ns - context.tolerance.early_ns, context.tolerance.bounds(came_ns)[1] + _TICKS_NS
    expected = (
        f"the SYN again at once when an earlier connection is answered for, {duration(came_ns)} after it"
    )
    return _judge(check, series, [(low, high), *wanted], 1, expected, context)


def _sums(gaps: Sequence[int], context: Context) -> Iterator[tuple[int, int]]:
    """Earliest and latest moment of each transmission after the first."""
    early = late = 0
    for gap in gaps:
        low, high = context.tolerance.bounds(gap)
        early, late = early + low, late + high
        yield early, late


def _end(flow: Flow, call: CallRecord | None, evidence: Evidence) -> tuple[int, str]:
    """When and why the kernel stopped sending SYNs, other than by giving up."""
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


def _kernel_keepalive(check: ScheduleCheck, series: _Series, evidence: Evidence, context: Context) -> Finding:
    """Judge probes by the interval of the host, or of the socket if TCP_KEEPINTVL was set."""
    host = evidence.records.hosts.get(series.journeys[0].source)
    flow = series.flow
    call = None if flow is None else connect_call(flow, evidence.records)
    own = set_option(call, "TCP_KEEPINTVL", evidence.records)
    interval = own if own is not None else int((host.sysctls if host else {}).get(_KEEPALIVE_INTERVAL, 75))
    wanted = [context.tolerance.bounds(interval * 1_000_000_000)] * max(1, len(series.gaps_ns))
    return _judge(check, series, wanted, len(wanted), f"gaps of {interval} s (keepalive interval)", context)


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
    reason = ""
    if seen.bad is None:
        probe = ", after a tail loss probe" if seen.first else ""
        actual = f"{actual} (RTO {duration(gaps[seen.first or 0])}{probe})"
    else:
        low, high = seen.bounds_ns[seen.bad]
        late = "longer" if gaps[seen.bad] > high else "shorter"
        off = f"gap {seen.bad + 1} is {duration(gaps[seen.bad])}, {late}"
        reason = f"{off} than back-off allows ({allowed(low, high)})"
    return finding(
        check, "schedule", expected, actual, reason, tolerance=tolerance, margin=margin, packets=packets
    )
