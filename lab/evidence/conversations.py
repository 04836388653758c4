"""Sorting of journeys into flows."""

from __future__ import annotations

from array import array

from lab.evidence.flows import Flow
from lab.evidence.journeys import Journeys
from lab.evidence.packets import ACK, ICMP, ICMPV6, SYN, TCP, UDP, Packet
from lab.evidence.types import WIRE, End

_ALL = (1 << 32) - 1


def find_flows(journeys: Journeys) -> list[Flow]:
    """Sorts the journeys into flows and fills in `journeys.flow`."""
    flows: list[Flow] = []
    current: dict[tuple[int, str, str, int, int], int] = {}
    by_numbers: list[dict[tuple[int, int, int, int, int], int]] = [{} for _ in journeys.hosts]
    members: list[array[int]] = []
    whole: dict[tuple[int, int, int, int], int] = {}  # what a fragment is of → flow
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
                    members[column[i]].append(i)
                continue
        numbers = (
            protocol,
            capture.source[position],
            capture.target[position],
            capture.sport[position],
            capture.dport[position],
        )
        opening = protocol == TCP and capture.flags[position] & (SYN | ACK) == SYN
        known = by_numbers[host].get(numbers)
        if known is not None and not (opening and flows[known].reopened(capture, position)):
            column[i] = known
            members[known].append(i)
            if piece is not None:
                whole[piece] = known
            continue
        packet = capture[position]
        there = (protocol, packet.source, packet.target, packet.sport, packet.dport)
        back = (protocol, packet.target, packet.source, packet.dport, packet.sport)
        found = current.get(there)
        if found is None or (opening and flows[found].reopened(capture, position)):
            found = len(flows)
            flows.append(_new_flow(found, packet, journeys, source, target))
            members.append(flows[found].numbers)
            current[there] = current[back] = found
            for cache in by_numbers:
                cache.clear()
        by_numbers[host][numbers] = found
        if piece is not None:
            whole[piece] = found
        column[i] = found
        members[found].append(i)
    for i in late:
        _place_icmp(i, journeys, flows, current)
    for flow in {column[i] for i in late if column[i] >= 0}:
        flows[flow].numbers = array("i", sorted(flows[flow].numbers))
    return flows


def _name(journeys: Journeys, number: int) -> str:
    return journeys.hosts[number] if number >= 0 else WIRE


def _new_flow(number: int, packet: Packet, journeys: Journeys, source: int, target: int) -> Flow:
    """Its first packet tells who is the client: who sends a SYN or is sent a SYN-ACK, else who is first."""
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
    current: dict[tuple[int, str, str, int, int], int],
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
