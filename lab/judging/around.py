"""Frames that bypassed the wire, as the captures show them: such a run proves nothing.

Every frame of a host goes to the wire's MAC or comes from it. A program with NET_ADMIN can change that (a
route, a neighbour, a filter); then its packets are not impaired, or leave the lab.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.errors import WireError
from lab.evidence.packets import ROW, Capture
from lab.evidence.store import Evidence

_TARGET, _SOURCE, _TYPE = slice(0, 6), slice(6, 12), slice(12, 14)  # of an Ethernet header
_ARP = b"\x08\x06"
_NO_MAC = bytes(6)  # a frame without an Ethernet header


def went_around(evidence: Evidence) -> WireError | None:
    """The error that names the first such frame of each host and how many kinds there are, or None.

    ARP is left out: it only resolves addresses, and engines announce containers by it. So are broadcasts of
    the engine's machine on the bridge.
    """
    wire = evidence.records.wire
    if wire is None or not wire.mac:
        return None
    macs = {_mac(facts.mac): name for name, facts in evidence.records.hosts.items() if facts.mac}
    found = []
    for name, capture in evidence.captures.items():
        own = next((mac for mac, owner in macs.items() if owner == name), None)
        if own is not None:
            found += _of_host(name, capture, own, _mac(wire.mac), macs)
    if not found:
        return None
    return WireError(
        f"went around the wire: {'; '.join(found)}",
        hint="a program with NET_ADMIN or NET_RAW did it, or a machine outside the lab sends into it",
    )


def _of_host(name: str, capture: Capture, own: bytes, wire: bytes, macs: Mapping[bytes, str]) -> list[str]:
    rows = capture.rows
    kinds = {bytes(rows[at + 2 : at + 16]) for at in range(0, len(rows), ROW)}
    found = []
    for header in sorted(kinds):
        text = _wrong(header, own, wire, macs)
        if text is not None:
            first = next(p for p in range(len(rows) // ROW) if rows[p * ROW + 2 : p * ROW + 16] == header)
            found.append(f"{text} ({name} #{first + 1})")
    return found


def _wrong(header: bytes, own: bytes, wire: bytes, macs: Mapping[bytes, str]) -> str | None:
    target, source = header[_TARGET], header[_SOURCE]
    if header[_TYPE] == _ARP or (target == _NO_MAC and source == _NO_MAC):
        return None
    if source == own:
        return None if target in (wire, own) else f"left {macs[own]} for {_who(target, macs)}"
    if source != wire and (source in macs or target == own):
        return f"came to {macs[own]} from {_who(source, macs)}"
    return None


def _who(mac: bytes, macs: Mapping[bytes, str]) -> str:
    text = mac.hex(":")
    if mac in macs:
        return f"{macs[mac]} itself ({text})"
    return f"everybody on the bridge ({text})" if mac[0] & 1 else f"{text}, which is not the lab's"


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
