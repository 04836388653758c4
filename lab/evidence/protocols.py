"""Protocols by number and by name, what an ICMP error quotes, and how a packet's row is laid out."""

from __future__ import annotations

from msgspec import Struct

ICMP, TCP, UDP, ICMPV6, ARP = 1, 6, 17, 58, 0x0806

ROW = 96  #: bytes kept of each packet: 2 of filling, 14 Ethernet, 20 IP, 60 transport header


class _Names(dict[int, str]):
    """Names of protocols by number; those it does not know get one when first asked for."""

    def __missing__(self, protocol: int) -> str:
        name = self[protocol] = f"ip-{protocol}" if protocol < 256 else f"ether-{protocol:#06x}"
        return name


PROTOCOL_NAMES = _Names({ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6", ARP: "arp"})


def protocol_name(protocol: int) -> str:
    """`tcp`, `udp`, `icmp`, `icmpv6`, `arp`, else `ip-47` or `ether-0x88cc`."""
    return PROTOCOL_NAMES[protocol]


class Quoted(Struct, frozen=True):
    """The beginning of the packet that an ICMP error speaks of."""

    source: str
    target: str
    protocol: str
    sport: int
    dport: int
    seq: int  #: of a TCP header, otherwise 0
    ip_id: int
