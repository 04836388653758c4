"""The check `order`: in which order steps ended and packets were sent or received."""

from __future__ import annotations

from itertools import pairwise

from msgspec import Struct

from lab.checks.columns import Packets
from lab.checks.common import Context, failed, finding
from lab.checks.flows import Pair, no_packets
from lab.checks.moments import Timed, timed_records
from lab.evidence.model import StepRecord
from lab.evidence.store import Evidence
from lab.quantities import duration, plural
from lab.scenario.checks import OrderCheck, OrderedPacket
from lab.verdict import Finding, PacketRef


class _Moment(Struct, frozen=True):
    """The time of an item on the two clocks of its observer: a host, or the lab itself ("")."""

    name: str
    host: str
    clock: str  #: whose wall clock: hosts of one machine share one
    mono_ns: int | None  #: None for a packet: captures have only the wall clock
    wall_ns: int
    packets: tuple[PacketRef, ...] = ()

    def after(self, other: _Moment) -> int:
        """How much later than the other one, in ns.

        A monotonic clock means nothing on another host: between two hosts their shared wall clock counts.
        """
        if self.host == other.host and self.mono_ns is not None and other.mono_ns is not None:
            return self.mono_ns - other.mono_ns
        return self.wall_ns - other.wall_ns


def judge_order(check: OrderCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge whether the steps' calls (programs, actions) ended, and the packets were sent or received, in
    this order, by `_Moment.after`."""
    expected = " before ".join(map(str, check.of))
    ends = timed_records(evidence.records)
    missing = [item for item in check.of if isinstance(item, str) and item not in ends]
    if missing:
        reason = f"step {missing[0]} has no record: it never ended"
        return failed(check, "order", expected, f"{plural(len(missing), 'step')} without a record", reason)
    if len(set(map(str, check.of))) < 2:
        return failed(check, "order", expected, expected, "one step alone has no order: name at least two")
    moments: list[_Moment] = []
    for item in check.of:
        moment = _end(ends[item], context) if isinstance(item, str) else _packet(item, evidence, context)
        if isinstance(moment, str):
            return failed(check, "order", expected, "a packet is missing", moment)
        moments.append(moment)
    for a, b in pairwise(moments):
        if a.clock != b.clock:
            reason = (
                f"{a.name} and {b.name} ended on machines with clocks of their own: "
                "which was first is not known"
            )
            return failed(check, "order", expected, "clocks of several machines", reason)
    ordered = sorted(moments, key=lambda moment: moment.wall_ns)
    actual = ", ".join(f"{moment.name} at +{duration(moment.after(ordered[0]))}" for moment in ordered)
    packets = tuple(ref for moment in moments for ref in moment.packets)
    gaps = [(b.after(a), a, b) for a, b in pairwise(moments)]
    margin = duration(min(gap for gap, _, _ in gaps))
    wrong = next(((gap, a, b) for gap, a, b in gaps if gap <= 0), None)
    reason = ""
    if wrong is not None:
        gap, a, b = wrong
        when = "at the same time as" if gap == 0 else f"{duration(-gap)} before"
        verb = "was" if b.packets else "ended"
        reason = f"{b.name} {verb} {when} {a.name}"
    return finding(check, "order", expected, actual, reason, margin=margin, packets=packets)


def _end(record: Timed, context: Context) -> _Moment:
    host = "" if isinstance(record, StepRecord) else record.host
    return _Moment(record.step, host, _clock(host, context), record.end_mono_ns, record.end_wall_ns)


def _clock(host: str, context: Context) -> str:
    places = context.attachments.get(host, ())
    return places[0].clock if places else ""


def _packet(item: OrderedPacket, evidence: Evidence, context: Context) -> _Moment | str:
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
    return _Moment(str(item), packet.host, _clock(packet.host, context), None, packet.t_ns, (packet.ref,))
