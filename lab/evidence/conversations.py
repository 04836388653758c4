"""Sorting journeys into flows."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.attachment import WIRE
from lab.evidence.flows import Flow
from lab.evidence.journeys import Journeys
from lab.evidence.packets import ACK, FIN, ICMP, ICMPV6, RST, SYN, TCP, UDP, Capture, Packet
from lab.evidence.types import End

_ALL, _HALF = (1 << 32) - 1, 1 << 31

_Ends = tuple[int, str, str, int, int]  #: protocol, source, target and their ports


@dataclass(slots=True)
class _Numbers:
    """The sequence numbers that one direction of a connection used: from `low` on, `used` of them."""

    low: int
    used: int = 0

    def add(self, seq: int, end: int) -> None:
        if (seq - self.low & _ALL) >= _HALF:
            self.used += self.low - seq & _ALL
            self.low = seq
        if (end - self.low & _ALL) < _HALF:
            self.used = max(self.used, end - self.low & _ALL)

    def holds(self, number: int) -> bool:
        return (number - self.low & _ALL) <= self.used


@dataclass(slots=True)
class _Earlier:
    """An earlier connection of the same addresses and ports, which may still have packets to come."""

    flow: int
    numbers: dict[tuple[str, int], _Numbers]  #: by sender: address and port

    def meant(self, packet: Packet) -> bool:
        """Whether the packet's numbers belong to this connection."""
        here = self.numbers.get((packet.source, packet.sport))
        there = self.numbers.get((packet.target, packet.dport))
        if here is None or packet.flags & SYN or not here.holds(packet.seq):
            return False
        return not packet.flags & ACK or there is None or there.holds(packet.ack)


@dataclass
class _Finder:
    """The flows so far, and the latest between any two ends."""

    journeys: Journeys
    flows: list[Flow] = field(default_factory=list)
    current: dict[_Ends, int] = field(default_factory=dict)
    by_numbers: list[dict[tuple[int, int, int, int, int], int]] = field(init=False)  #: by host: a quick cache
    earlier: dict[int, list[_Earlier]] = field(default_factory=dict)  #: flow → those before it, newest first

    def __post_init__(self) -> None:
        self.by_numbers = [{} for _ in self.journeys.hosts]

    def find(self, i: int, capture: Capture, position: int, host: int) -> int:
        """The flow of a packet that has ports."""
        numbers = (
            capture.protocol[position],
            capture.source[position],
            capture.target[position],
            capture.sport[position],
            capture.dport[position],
        )
        opening = numbers[0] == TCP and capture.flags[position] & (SYN | ACK) == SYN
        found = self.by_numbers[host].get(numbers)
        if found is None or opening:
            packet = capture[position]
            ends = (numbers[0], packet.source, packet.target, packet.sport, packet.dport)
            found = self.current.get(ends)
            if found is None or (opening and self._reopens(found, packet)):
                found = self._new(packet, ends, i)
            self.by_numbers[host][numbers] = found
        if found in self.earlier and not opening:
            packet = capture[position]
            return next((one.flow for one in self.earlier[found] if one.meant(packet)), found)
        return found

    def _reopens(self, number: int, packet: Packet) -> bool:
        """Whether this SYN is the first of another connection on the same ports. A SYN of the server that
        crosses the client's is a simultaneous open."""
        flow = self.flows[number]
        if (packet.source, packet.sport) == (flow.client.address, flow.client.port):
            return packet.seq != flow.client_isn
        return any(
            not (one.flags & SYN and one.seq == packet.seq)
            for one in self._packets(number)
            if (one.source, one.sport) == (packet.source, packet.sport)
        )

    def _packets(self, number: int) -> Iterator[Packet]:
        for i in self.flows[number].numbers:
            capture, position = self.journeys.seen(i)
            if capture.protocol[position] == TCP:
                yield capture[position]

    def _new(self, packet: Packet, ends: _Ends, i: int) -> int:
        number = len(self.flows)
        journeys = self.journeys
        flow = _new_flow(number, packet, journeys, journeys.source[i], journeys.target[i])
        before = self.current.get(ends)
        if before is not None:
            flow.previous = before
            self.earlier[number] = [self._used(before), *self.earlier.get(before, ())]
        self.flows.append(flow)
        protocol, source, target, sport, dport = ends
        self.current[ends] = self.current[protocol, target, source, dport, sport] = number
        for cache in self.by_numbers:
            cache.clear()
        return number

    def _used(self, number: int) -> _Earlier:
        found: dict[tuple[str, int], _Numbers] = {}
        for packet in self._packets(number):
            if packet.flags & RST:
                continue
            used = packet.payload_len + bool(packet.flags & SYN) + bool(packet.flags & FIN)
            end = packet.seq + used & _ALL
            known = found.setdefault((packet.source, packet.sport), _Numbers(packet.seq))
            known.add(packet.seq, end)
        return _Earlier(number, found)


def find_flows(journeys: Journeys) -> list[Flow]:
    """Sort the journeys into flows and fill in `journeys.flow`.

    A SYN with another sequence number on the same ports begins another connection. Late packets of the
    earlier one (the answer to a SYN that it takes for its own, and the reset that follows) belong to it by
    their sequence numbers.
    """
    finder = _Finder(journeys)
    flows = finder.flows
    whole: dict[tuple[int, int, int, int], int] = {}  # datagram of a fragment → flow
    late: list[int] = []
    column = journeys.flow
    for i, (source, target, sent, received) in enumerate(
        zip(journeys.source, journeys.target, journeys.sent, journeys.received, strict=True)
    ):
        host, position = (source, sent) if sent >= 0 else (target, received)
        capture = journeys.captures[host]
        assert capture is not None
        protocol = capture.protocol[position]
        if protocol in (ICMP, ICMPV6):
            late.append(i)
            continue
        if protocol > 255:
            continue
        piece: tuple[int, int, int, int] | None = None
        if position in capture.fragments:
            piece = (protocol, capture.source[position], capture.target[position], capture.ip_id(position))
            if capture.fragments[position][0]:  # only the first fragment has ports
                column[i] = whole.get(piece, -1)
                if column[i] >= 0:
                    flows[column[i]].numbers.append(i)
                continue
        found = finder.find(i, capture, position, host)
        if piece is not None:
            whole[piece] = found
        column[i] = found
        flows[found].numbers.append(i)
    for i in late:
        _place_icmp(i, journeys, flows, finder.current)
    for flow in {column[i] for i in late if column[i] >= 0}:
        flows[flow].numbers = array("i", sorted(flows[flow].numbers))
    return flows


def _name(journeys: Journeys, number: int) -> str:
    return journeys.hosts[number] if number >= 0 else WIRE


def _new_flow(number: int, packet: Packet, journeys: Journeys, source: int, target: int) -> Flow:
    """A new flow. The client sent the SYN or received the SYN-ACK; otherwise it is the first sender."""
    ends = [
        End(_name(journeys, source), packet.source, packet.sport),
        End(_name(journeys, target), packet.target, packet.dport),
    ]
    isn: int | None = (
        packet.seq - (0 if packet.flags & SYN else 1) & _ALL if packet.protocol == "tcp" else None
    )
    if packet.protocol == "tcp" and packet.flags & (SYN | ACK) == SYN | ACK:
        ends.reverse()
        isn = packet.ack - 1 & _ALL
    return Flow(number, packet.protocol, ends[0], ends[1], isn, journeys, array("i"))


def _place_icmp(
    i: int,
    journeys: Journeys,
    flows: list[Flow],
    current: dict[_Ends, int],
) -> None:
    capture, position = journeys.seen(i)
    packet = capture[position]
    quoted = packet.quoted
    found: int | None = None
    if quoted is not None:
        number = {"tcp": TCP, "udp": UDP}.get(quoted.protocol, ICMP)
        found = current.get((number, quoted.source, quoted.target, quoted.sport, quoted.dport))
    if found is None:
        protocol = capture.protocol[position]
        found = current.get((protocol, packet.source, packet.target, 0, 0))
        if found is None:
            found = len(flows)
            flows.append(_new_flow(found, packet, journeys, journeys.source[i], journeys.target[i]))
            current[protocol, packet.source, packet.target, 0, 0] = found
            current[protocol, packet.target, packet.source, 0, 0] = found
    journeys.flow[i] = found
    flows[found].numbers.append(i)
