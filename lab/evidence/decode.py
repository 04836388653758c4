"""Decoding of frames that are not plain Ethernet, IPv4 without options, TCP, UDP or ICMP."""

from __future__ import annotations

from lab.evidence.packets import Packet, Quoted


def quoted(packet: Packet) -> Quoted | None:
    """What an ICMP or ICMPv6 error quotes."""
    raise NotImplementedError
