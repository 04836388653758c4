"""Packets that a host's own kernel discarded on arrival, by its counters and by missing reactions.

A capture shows a packet before the host's stack handles it. This module finds the packets that the stack
discarded, never more than its counters say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from lab.evidence.flows import Flow
from lab.evidence.journeys import CORRUPTED, Journeys
from lab.evidence.model import CallRecord, Records
from lab.evidence.packets import ACK, RST, SYN
from lab.evidence.types import Cause, Journey

_PORT_UNREACHABLE = (3, 3)


def find_discards(journeys: Journeys, flows: Sequence[Flow], records: Records) -> Mapping[int, Cause]:
    """Why the receiving host discarded a packet, by the number of its journey."""
    found: dict[int, Cause] = {}
    if CORRUPTED in journeys.fate:
        for i, fate in enumerate(journeys.fate):
            if fate == CORRUPTED:
                host = journeys.hosts[journeys.target[i]]
                found[i] = Cause("checksum", f"its checksum is wrong: thrown away by {host}")
    for host, counters in records.counters.items():
        if (count := counters.delta("UdpNoPorts")) > 0:
            found.update(_no_socket(flows, host, count))
        if (count := counters.delta("TcpExtListenOverflows")) > 0:
            found.update(_queue_full(flows, host, count))
        if (count := counters.delta("UdpRcvbufErrors")) > 0:
            found.update(_buffer_full(flows, host, count, records.calls))
    return found


def _arrived(flow: Flow, host: str) -> Iterator[Journey]:
    return (j for j in flow if j.target == host and j.received is not None)


# --- no socket --------------------------------------------------------------------------------------------


def _no_socket(flows: Sequence[Flow], host: str, count: int) -> Iterator[tuple[int, Cause]]:
    """Datagrams that the host answered with ICMP port unreachable, found by its quote."""
    for flow in flows:
        if flow.protocol != "udp":
            continue
        quoted = set()
        for journey in flow:
            packet = journey.packet
            if journey.source == host and (packet.icmp_type, packet.icmp_code) == _PORT_UNREACHABLE:
                quote = packet.quoted
                if quote is not None:
                    quoted.add((quote.sport, quote.dport, quote.ip_id))
        for journey in _arrived(flow, host):
            packet = journey.packet
            if count and packet.protocol == "udp" and (packet.sport, packet.dport, packet.ip_id) in quoted:
                count -= 1
                text = f"no socket of {host} has UDP port {packet.dport}: thrown away, and answered by ICMP"
                yield journey.number, Cause("no socket", text)


# --- a full accept queue ----------------------------------------------------------------------------------


def _queue_full(flows: Sequence[Flow], host: str, count: int) -> Iterator[tuple[int, Cause]]:
    """SYNs not answered before the next one; then ACKs after which the SYN-ACK was sent again."""
    tcp = [flow for flow in flows if flow.protocol == "tcp" and flow.server.host == host]
    ignored = sorted(number for flow in tcp for number in _ignored_syns(flow, host))
    acks = sorted(number for flow in tcp for number in _ignored_acks(flow, host))
    for what, numbers in (("SYN", ignored), ("ACK", acks)):
        for number in numbers[:count]:
            text = f"the accept queue of {host} is full: the {what} was thrown away"
            yield number, Cause("accept queue", text)
        count -= min(count, len(numbers))


def _ignored_syns(flow: Flow, host: str) -> Iterator[int]:
    waiting: int | None = None
    for journey in flow:
        flags = journey.packet.flags
        if journey.target == host and journey.received is not None and flags & (SYN | ACK) == SYN:
            if waiting is not None:
                yield waiting
            waiting = journey.number
        elif journey.source == host and flags & (SYN | RST):
            waiting = None
    if waiting is not None:
        yield waiting


def _ignored_acks(flow: Flow, host: str) -> Iterator[int]:
    """ACKs that should complete a handshake, after which the host still sent its SYN-ACK."""
    waiting: int | None = None
    answered = False
    for journey in flow:
        flags = journey.packet.flags
        if journey.source == host and flags & (SYN | ACK) == SYN | ACK:
            if waiting is not None:
                yield waiting
            waiting, answered = None, True
        elif (
            journey.target == host
            and journey.received is not None
            and answered
            and flags & (SYN | ACK | RST) == ACK
            and waiting is None
        ):
            waiting = journey.number


# --- a full receive buffer --------------------------------------------------------------------------------


def _buffer_full(
    flows: Sequence[Flow], host: str, count: int, calls: Sequence[CallRecord]
) -> Iterator[tuple[int, Cause]]:
    """Datagrams that no call received though a later one was received; then the last ones after the last
    received, up to the counter: those that find the buffer full come after those that filled it."""
    by_port: dict[int, list[Journey]] = {}
    for flow in flows:
        if flow.protocol == "udp":
            for journey in _arrived(flow, host):
                by_port.setdefault(journey.packet.dport, []).append(journey)
    skipped: list[Journey] = []
    rest: list[Journey] = []
    for port, journeys in by_port.items():
        receiving = [c for c in calls if c.host == host and c.kind == "udp" and c.local_port == port]
        taken = [c for c in receiving if c.call in ("recv", "recvfrom") and c.sha256 is not None]
        if receiving:
            rest += _align(journeys, sorted(taken, key=lambda c: c.end_mono_ns), skipped)
    thrown = skipped[:count]
    if count > len(thrown):
        rest.sort(key=lambda journey: journey.number)
        thrown += rest[-(count - len(thrown)) :]
    for journey in thrown:
        yield journey.number, Cause("receive buffer", f"the receive buffer of {host} is full: thrown away")


def _align(
    journeys: Sequence[Journey], taken: Sequence[CallRecord], skipped: list[Journey]
) -> Sequence[Journey]:
    """Compare what arrived and what was received, both in order, and give what is left after the last."""
    arrivals = sorted(journeys, key=lambda j: j.received.t_ns if j.received is not None else 0)
    at = 0
    for call in taken:
        here = next((k for k in range(at, len(arrivals)) if _is_content(arrivals[k], call)), None)
        if here is None:
            continue
        skipped.extend(arrivals[at:here])
        at = here + 1
    return arrivals[at:]


def _is_content(journey: Journey, call: CallRecord) -> bool:
    packet = journey.received
    if packet is None or packet.fragment is not None:
        return False
    return hashlib.sha256(packet.payload()[: call.length]).hexdigest() == call.sha256
