"""The check `order`: in which order steps ended and packets went."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from lab.checks.columns import Packets
from lab.checks.common import Context, failed, passed, plural, span
from lab.checks.flows import Pair, no_packets
from lab.checks.moments import step_times
from lab.evidence.store import Evidence
from lab.scenario.checks import OrderCheck, OrderedPacket
from lab.verdict import Finding, PacketRef


@dataclass(frozen=True, slots=True)
class _Moment:
    """One item of an order, and when it was."""

    name: str
    ns: int
    packets: tuple[PacketRef, ...] = ()


def judge_order(check: OrderCheck, evidence: Evidence, context: Context) -> Finding:
    """The steps' calls (programs, actions) ended in this order, by CLOCK_MONOTONIC of the machine; with
    packets among them, by the wall clock, which captures have too."""
    names = [str(item) for item in check.of]
    expected = " before ".join(names)
    if len(set(names)) < 2:
        return failed(check, "order", expected, expected, "one step alone has no order: name at least two")
    times = step_times(evidence.records)
    by_wall = any(isinstance(item, OrderedPacket) for item in check.of)
    moments: list[_Moment] = []
    for item in check.of:
        if isinstance(item, OrderedPacket):
            moment = _packet_moment(item, evidence, context)
            if isinstance(moment, str):
                return failed(check, "order", expected, "a packet is missing", moment)
            moments.append(moment)
        elif item not in times:
            missing = [name for name in check.of if isinstance(name, str) and name not in times]
            reason = f"step {item} has no record: it never ended"
            return failed(
                check, "order", expected, f"{plural(len(missing), 'step')} without a record", reason
            )
        else:
            moments.append(_Moment(item, times[item].end_ns if by_wall else times[item].end_mono_ns))
    ordered = sorted(moments, key=lambda moment: moment.ns)
    actual = ", ".join(f"{moment.name} at +{span(moment.ns - ordered[0].ns)}" for moment in ordered)
    packets = tuple(ref for moment in moments for ref in moment.packets)
    gaps = [(b.ns - a.ns, a, b) for a, b in pairwise(moments)]
    margin = span(min(gap for gap, _, _ in gaps))
    wrong = next(((gap, a, b) for gap, a, b in gaps if gap <= 0), None)
    if wrong is None:
        return passed(check, "order", expected, actual, margin=margin, packets=packets)
    gap, a, b = wrong
    when = "at the same time as" if gap == 0 else f"{span(-gap)} before"
    verb = "was" if by_wall else "ended"
    return failed(
        check, "order", expected, actual, f"{b.name} {verb} {when} {a.name}", margin=margin, packets=packets
    )


def _packet_moment(item: OrderedPacket, evidence: Evidence, context: Context) -> _Moment | str:
    """The moment of a packet, or why there is none."""
    pair = Pair.of(item.from_, item.to, context)
    if not evidence.captures:
        return no_packets(pair, evidence)
    matching = Packets.of(pair, evidence.trace, context).matching(
        item.match, at_receiver=item.at == "receiver"
    )
    meant = matching.sent if item.at == "sender" else matching.received
    journeys = [evidence.trace.journeys[i] for i in meant.numbers]
    seen = [one for j in journeys if (one := j.sent if item.at == "sender" else j.received) is not None]
    seen.sort(key=lambda packet: packet.t_ns)
    if len(seen) < item.nth:
        return f"{item}: only {plural(len(seen), 'such packet')} in the captures"
    packet = seen[item.nth - 1]
    return _Moment(str(item), packet.t_ns, (packet.ref,))
