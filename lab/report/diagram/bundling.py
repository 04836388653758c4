"""Decides in one pass over all journeys which packets are drawn one by one and which go into bundles.

Always worth an arrow: handshakes, closes, resets, losses, retransmissions, ICMP, and what a failed check
points at. Not worth one: the n-th segment of a bulk transfer.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice

from msgspec import Struct

from lab.evidence.packets import FIN, RST, SYN
from lab.evidence.trace import Fate, Journey, Trace
from lab.quantities import plural
from lab.report.diagram.details import packet_of
from lab.report.diagram.model import Bundle, Packet


class Budget(Struct, frozen=True):
    """Limits on what is drawn."""

    all_below: int = 160  #: up to this many packets are all drawn one by one
    special: int = 140  #: at most this many of the special ones in a longer case
    ends: int = 60  #: how many of these are reserved for the last ones
    bundles: int = 160
    short_run: int = 4  #: a run of up to this many is not bundled


@dataclass(slots=True)
class _Run:
    """A bundle being built."""

    first: Journey
    kind: str
    members: list[Journey] = field(default_factory=list)  #: only the first few
    packets: int = 0
    bytes: int = 0
    lost: int = 0
    discarded: int = 0
    retransmitted: int = 0
    sent: tuple[int, int] = (0, 0)
    received: tuple[int, int] | None = None
    last: Journey | None = None

    def add(self, journey: Journey, keep: int) -> None:
        packet = journey.packet
        t = packet.t_ns
        if not self.packets:
            self.sent = (t, t)
        self.packets += 1
        self.bytes += packet.payload_len
        self.sent = (self.sent[0], max(self.sent[1], t))
        self.last = journey
        if journey.received is not None:
            at = journey.received.t_ns
            self.received = (
                (min(self.received[0], at), max(self.received[1], at)) if self.received else (at, at)
            )
        self.lost += journey.fate is Fate.LOST
        self.discarded += journey.discarded is not None
        self.retransmitted += journey.is_retransmission
        if len(self.members) <= keep:
            self.members.append(journey)

    def merge(self, other: _Run) -> None:
        self.packets += other.packets
        self.bytes += other.bytes
        self.lost += other.lost
        self.discarded += other.discarded
        self.retransmitted += other.retransmitted
        self.sent = (self.sent[0], max(self.sent[1], other.sent[1]))
        if other.received is not None:
            low, high = self.received or other.received
            self.received = (min(low, other.received[0]), max(high, other.received[1]))
        self.last = other.last
        if other.kind == "data":
            self.kind = "data"


class Gathered(Struct, frozen=True):
    packets: tuple[Packet, ...]
    bundles: tuple[Bundle, ...]
    total: int
    end_ns: int
    between: dict[tuple[str, str], int]  #: packets by sender and receiver
    flow_packets: dict[int, int]
    omitted: tuple[str, ...]


_Key = tuple[str, str, int | None]
_GAP_NS = 150_000_000  #: a pause after which a new run begins


def gather(trace: Trace, zero: int, decisive: set[tuple[str, int]], budget: Budget) -> Gathered:
    """Gathers what is drawn in one pass; the budget bounds memory, not the number of packets."""
    total = len(trace.journeys)
    singles: list[Journey] = []
    runs: list[_Run] = []
    open_: dict[_Key, _Run] = {}
    between: Counter[tuple[str, str]] = Counter()
    flow_packets: Counter[int] = Counter()
    end = housekeeping = 0
    small = total <= budget.all_below
    specials = _specials(trace, budget) if not small else set()
    for journey in trace.journeys:
        between[journey.source, journey.target] += 1
        if journey.flow is not None:
            flow_packets[journey.flow] += 1
        for packet in (journey.sent, journey.received):
            if packet is not None and packet.t_ns > end:
                end = packet.t_ns
        hot = bool(decisive) and any((ref.host, ref.number) in decisive for ref in journey.refs)
        if not hot and is_housekeeping(journey):
            housekeeping += 1
            continue
        key = (journey.source, journey.target, journey.flow)
        if small or journey.number in specials or (hot and len(singles) < 4 * budget.special):
            singles.append(journey)
            # It ends its flow's runs in both directions, so that packets before it and after it stay apart.
            open_.pop(key, None)
            open_.pop((journey.target, journey.source, journey.flow), None)
            continue
        run = open_.get(key)
        if run is None or journey.packet.t_ns - run.sent[1] > _GAP_NS:
            run = _Run(journey, _kind(journey))
            open_[key] = run
            runs.append(run)
            if len(runs) > 40 * budget.bundles:
                runs = _thin(runs, 20 * budget.bundles)
                open_.clear()
        run.add(journey, budget.short_run)
        if run.kind == "ack" and journey.packet.payload_len:
            run.kind = "data"
    short = [run for run in runs if run.packets <= budget.short_run and len(run.members) == run.packets]
    room = max(0, budget.special + budget.all_below - len(singles))
    for run in short:
        if run.packets <= room:
            singles += run.members
            room -= run.packets
            run.packets = 0
    runs = _thin([run for run in runs if run.packets], budget.bundles)
    singles.sort(key=lambda journey: journey.number)
    bundled = sum(run.packets for run in runs)
    omitted = []
    if runs:
        omitted.append(
            f"{plural(len(singles), 'packet')} of {total:,} drawn one by one, the other {bundled:,} in "
            f"{plural(len(runs), 'bundle')}: the captures hold them all"
        )
    if housekeeping:
        omitted.append(
            f"{plural(housekeeping, 'packet')} of housekeeping (IPv6 neighbours, multicast groups) not drawn"
        )
    return Gathered(
        packets=tuple(packet_of(trace, j, zero, decisive) for j in singles),
        bundles=tuple(_bundle(trace, i, run, zero) for i, run in enumerate(runs)),
        total=total,
        end_ns=end - zero if end else 0,
        between=dict(between),
        flow_packets=dict(flow_packets),
        omitted=tuple(omitted),
    )


_HOUSEKEEPING = frozenset({130, 131, 132, 133, 134, 135, 136, 143})  #: ICMPv6: MLD and neighbour discovery
_IGMP = "ip-2"


def is_housekeeping(journey: Journey) -> bool:
    """Whether a packet is one that a kernel sends on any new link, whatever the scenario."""
    packet = journey.packet
    if packet.protocol == "icmpv6":
        return packet.icmp_type in _HOUSEKEEPING
    return packet.protocol == _IGMP


def _is_special(journey: Journey) -> bool:
    packet = journey.packet
    return (
        bool(packet.flags & (SYN | FIN | RST))
        or journey.fate is not Fate.RECEIVED
        or journey.discarded is not None
        or journey.is_retransmission
        or bool(journey.copies)
        or packet.protocol not in ("tcp", "udp")
    )


def _specials(trace: Trace, budget: Budget) -> set[int]:
    """Numbers of the special journeys to draw: the first ones and the last ones."""
    numbers = (j.number for j in trace.journeys if _is_special(j) and not is_housekeeping(j))
    first = set(islice(numbers, budget.special - budget.ends))
    return first | set(deque(numbers, maxlen=budget.ends))


def _thin(runs: list[_Run], limit: int) -> list[_Run]:
    """Merges neighbours of one flow and direction, the closest in time first, until `limit` are left."""
    while len(runs) > limit:
        latest: dict[_Key, _Run] = {}
        gaps: list[int] = []
        for run in runs:
            key = (run.first.source, run.first.target, run.first.flow)
            if key in latest:
                gaps.append(run.sent[0] - latest[key].sent[1])
            latest[key] = run
        if not gaps:
            return _largest(runs, limit)
        gaps.sort()
        bound = gaps[min(len(gaps) - 1, len(runs) - limit)]
        kept: list[_Run] = []
        latest = {}
        for run in runs:
            key = (run.first.source, run.first.target, run.first.flow)
            before = latest.get(key)
            if before is not None and run.sent[0] - before.sent[1] <= bound:
                before.merge(run)
            else:
                kept.append(run)
                latest[key] = run
        runs = kept
    return runs


def _largest(runs: list[_Run], limit: int) -> list[_Run]:
    chosen = sorted(runs, key=lambda run: -run.packets)[:limit]
    return sorted(chosen, key=lambda run: run.sent[0])


def _kind(journey: Journey) -> str:
    packet = journey.packet
    if packet.protocol == "tcp":
        return "data" if packet.payload_len else "ack"
    return packet.protocol if packet.protocol in ("udp", "icmp", "arp") else "other"


def _bundle(trace: Trace, i: int, run: _Run, zero: int) -> Bundle:
    first = run.first
    seq = None
    if first.flow is not None and first.packet.protocol == "tcp" and run.last is not None:
        flow = trace.flows[first.flow]
        begin = flow.relative(first.packet)[0]
        end = flow.relative(run.last.packet)[0] + run.last.packet.payload_len
        seq = (begin, max(begin, end))
    return Bundle(
        key=str(i),
        source=first.source,
        target=first.target,
        flow=first.flow,
        kind=run.kind,  # type: ignore[arg-type]
        packets=run.packets,
        bytes=run.bytes,
        first_sent_ns=run.sent[0] - zero,
        last_sent_ns=run.sent[1] - zero,
        first_received_ns=run.received[0] - zero if run.received else None,
        last_received_ns=run.received[1] - zero if run.received else None,
        lost=run.lost,
        discarded=run.discarded,
        retransmitted=run.retransmitted,
        seq=seq,
    )
