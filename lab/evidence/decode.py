"""Decoding of all frames except plain Ethernet and IPv4 without options with TCP, UDP or ICMP.

One frame at a time, slowly: VLAN tags, Linux cooked captures, IPv4 options and fragments, IPv6 with extension
headers, ARP, padding, truncated frames, garbage. No input raises.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from socket import AF_INET6, inet_ntoa, inet_ntop

from lab.evidence.protocols import ARP, ICMPV6, ROW, TCP, UDP, Quoted, protocol_name

ETHERNET, RAW_IP, COOKED, COOKED_2, LOOPBACK = 1, 101, 113, 276, 0
_RAW_IP = (RAW_IP, 12, 14, 228, 229)
IPV4, IPV6 = 0x0800, 0x86DD
_TAGS = (0x8100, 0x88A8, 0x9100)
_MOST_EXTENSIONS = 16
_FRAGMENT_HEADER = 44
_EXTENSIONS = (0, 43, 60, 135)  # hop-by-hop, routing, destination, mobility; 51 is counted in 4 bytes
_ICMP_ERRORS = (3, 4, 5, 11, 12)


@dataclass(slots=True)
class Decoded:
    """The columns of one frame, its normalised row, and the offsets of its headers."""

    protocol: int
    source: str
    target: str
    l3: int
    l4: int
    row: bytes
    digest: int
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    payload_len: int = 0
    fragment: tuple[int, bool] | None = None


def _network(frame: bytes, link: int) -> tuple[int, int]:
    """Ethertype (0: unknown) and offset of the network header."""
    if link == ETHERNET:
        at = 12
        kind = int.from_bytes(frame[12:14], "big")
        for _ in range(4):
            if kind not in _TAGS:
                break
            at += 4
            kind = int.from_bytes(frame[at : at + 2], "big")
        return kind, at + 2
    if link == COOKED:
        return int.from_bytes(frame[14:16], "big"), 16
    if link == COOKED_2:
        return int.from_bytes(frame[0:2], "big"), 20
    start = 4 if link == LOOPBACK else 0
    if (link == LOOPBACK or link in _RAW_IP) and len(frame) > start:
        return {4: IPV4, 6: IPV6}.get(frame[start] >> 4, 0), start
    return 0, len(frame)


def decode(frame: bytes, link: int) -> Decoded:
    """Decode a frame as far as possible."""
    kind, l3 = _network(frame, link)
    if kind == IPV4 and len(frame) >= l3 + 20 and frame[l3] >> 4 == 4 and frame[l3] & 15 >= 5:
        return _ipv4(frame, l3)
    if kind == IPV6 and len(frame) >= l3 + 40 and frame[l3] >> 4 == 6:
        return _ipv6(frame, l3)
    if kind == ARP and frame[l3 : l3 + 6] == b"\x00\x01\x08\x00\x06\x04" and len(frame) >= l3 + 28:
        arp = frame[l3 : l3 + 28]
        row = _row(bytes(20), arp)
        return Decoded(ARP, inet_ntoa(arp[14:18]), inet_ntoa(arp[24:28]), l3, l3, row, hash(arp))
    ends = (frame[6:12].hex(":"), frame[0:6].hex(":")) if link == ETHERNET and len(frame) >= 12 else ("", "")
    rest = frame[l3:]
    return Decoded(max(kind, 256), *ends, l3, min(l3, len(frame)), _row(bytes(20), b""), hash((kind, rest)))


def _row(ip: bytes, transport: bytes) -> bytes:
    """A row as in `RawFrames.rows`: 2 of padding, 14 of Ethernet, 20 of IP, up to 60 of transport header."""
    return (bytes(16) + ip + transport[:60]).ljust(ROW, b"\0")


def _ipv4(frame: bytes, l3: int) -> Decoded:
    length, fragment = struct.unpack_from(">H2xH", frame, l3 + 2)
    header = (frame[l3] & 15) * 4
    l4 = min(l3 + header, len(frame))
    # an offloaded packet is captured with length 0; a wrong length must not hide the rest
    end = l3 + length if length >= header else len(frame)
    ip = frame[l3 : l3 + 20]
    packet = frame[l3:end]
    found = Decoded(
        protocol=frame[l3 + 9],
        source=inet_ntoa(ip[12:16]),
        target=inet_ntoa(ip[16:20]),
        l3=l3,
        l4=l4,
        row=_row(ip, frame[l4:end]),
        # the same as the reader makes of all plain packets at once
        digest=hash((hash(packet[12:]), _word(packet, 0), _word(packet, 4), packet[9])),
    )
    offset, more = (fragment & 0x1FFF) * 8, bool(fragment & 0x2000)
    if offset or more:
        found.fragment = (offset, more)
    if not offset:
        _transport(found, frame, min(end, len(frame)), end - l4)
    else:
        found.payload_len = max(0, end - l4)
    return found


def _word(packet: bytes, at: int) -> int:
    return int.from_bytes(packet[at : at + 4], sys.byteorder)


def _ipv6(frame: bytes, l3: int) -> Decoded:
    length, kind, hops = struct.unpack_from(">HBB", frame, l3 + 4)
    traffic_class = int.from_bytes(frame[l3 : l3 + 2], "big") >> 4 & 0xFF
    end = l3 + 40 + length if length else len(frame)
    at = l3 + 40
    fragment: tuple[int, bool] | None = None
    ip_id = 0
    for _ in range(_MOST_EXTENSIONS):
        if at + 8 > min(end, len(frame)):
            break
        if kind in _EXTENSIONS:
            kind, at = frame[at], at + 8 + frame[at + 1] * 8
        elif kind == 51:
            kind, at = frame[at], at + 8 + frame[at + 1] * 4
        elif kind == _FRAGMENT_HEADER:
            word, number = struct.unpack_from(">HI", frame, at + 2)
            fragment, ip_id = (word & 0xFFF8, bool(word & 1)), number & 0xFFFF
            kind, at = frame[at], at + 8
        else:
            break
    at = min(at, len(frame))
    packet = frame[l3:end]
    found = Decoded(
        protocol=kind,
        source=inet_ntop(AF_INET6, frame[l3 + 8 : l3 + 24]),
        target=inet_ntop(AF_INET6, frame[l3 + 24 : l3 + 40]),
        l3=l3,
        l4=at,
        row=_row(
            struct.pack(">BBHHHBBH8x", 0x60, traffic_class, min(length, 65535), ip_id, 0, hops, kind, 0),
            frame[at:end],
        ),
        digest=hash(packet[:7] + packet[8:]),
        fragment=fragment if fragment not in (None, (0, False)) else None,
    )
    if found.fragment is None or found.fragment[0] == 0:
        _transport(found, frame, min(end, len(frame)), end - at)
    else:
        found.payload_len = max(0, end - at)
    return found


def _transport(found: Decoded, frame: bytes, end: int, length: int) -> None:
    """The transport header at `found.l4`; the frame holds it up to `end`, the packet has `length` bytes."""
    l4 = found.l4
    found.payload_len = max(0, length)
    held = end - l4
    if found.protocol in (TCP, UDP) and held >= 4:
        found.sport, found.dport = struct.unpack_from(">HH", frame, l4)
    if found.protocol == UDP:
        found.payload_len = max(0, length - 8)
    elif found.protocol == TCP:
        if held < 20:
            found.payload_len = 0
            return
        found.seq, found.ack, offset, found.flags, found.window = struct.unpack_from(">IIBBH", frame, l4 + 4)
        found.payload_len = max(0, length - max(20, (offset >> 4) * 4))


def quoted(protocol: int, kind: int, inner: bytes) -> Quoted | None:
    """What an ICMP or ICMPv6 packet of type `kind` quotes in `inner`, the bytes after its header; None if it
    is not an error, or quotes too little."""
    if kind >= 128 if protocol == ICMPV6 else kind not in _ICMP_ERRORS:
        return None
    found = decode(inner, RAW_IP)
    if found.protocol > 255:
        return None
    # RFC 792 promises 8 bytes of the transport header: less than a whole TCP header
    seq = int.from_bytes(inner[found.l4 + 4 : found.l4 + 8], "big") if found.protocol == TCP else 0
    return Quoted(
        found.source,
        found.target,
        protocol_name(found.protocol),
        found.sport,
        found.dport,
        seq,
        int.from_bytes(found.row[20:22], "big"),
    )
