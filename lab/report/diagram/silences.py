"""Describes a long gap between two drawn moments: a silence, packets on their way, a bundle that goes on."""

from __future__ import annotations

from lab.quantities import plural
from lab.report.diagram.model import Diagram

_NOTHING = "nothing happens"


def what_happens(diagram: Diagram, start_ns: int, end_ns: int) -> str:
    """`nothing happens`, `2 packets on their way`, `102 segments go on`."""
    going = [
        bundle
        for bundle in diagram.bundles
        if bundle.first_sent_ns < end_ns
        and max(bundle.last_sent_ns, bundle.last_received_ns or bundle.last_sent_ns) > start_ns
    ]
    parts = []
    if going:
        many = [bundle.label for bundle in going] if len(going) <= 2 else [f"{len(going)} bundles"]
        parts.append(f"{' and '.join(many)} go on")
    flying = sum(
        1
        for packet in diagram.packets
        if packet.sent_ns is not None
        and packet.received_ns is not None
        and packet.sent_ns <= start_ns
        and packet.received_ns >= end_ns
    )
    if flying:
        parts.append(f"{plural(flying, 'packet')} on {'its' if flying == 1 else 'their'} way")
    return ", ".join(parts) or _NOTHING


def sentence(took: str, words: str) -> str:
    """`400 ms in which nothing happens`, `150 ms: 2 packets on their way`."""
    return f"{took} in which {words}" if words == _NOTHING else f"{took}: {words}"
