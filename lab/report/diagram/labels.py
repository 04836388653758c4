"""The words on an arrow: all of them if they fit, otherwise fewer that still give the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab.harmless import clean
from lab.report.diagram.model import Packet
from lab.report.text import cells, cut

_ACK = re.compile(r" ack=\d+")
_SEQ = re.compile(r" seq=\d+")
_PORTS = re.compile(r" \d+ → \d+")


def fitting(packet: Packet, room: int, *, again: str = "") -> str:
    """The longest wording of at most `room` cells. `again` replaces the note of a retransmission."""
    shortest = ""
    for words in _wordings(packet, again):
        shortest = clean(words)
        if cells(shortest) <= room:
            return shortest
    return cut(shortest, room)


def _wordings(packet: Packet, again: str) -> Iterator[str]:
    """All wordings, longest first: the payload is dropped first, then numbers, then words of the note."""
    notes = [again, again.split(" ")[0]] if again else [packet.note, *packet.brief]
    yield _join(packet.label, packet.payload, notes[0])
    label = _fewer_numbers(packet)
    for note in notes:
        yield _join(packet.label, note)
        yield _join(label, note)
    flags = label.split(" ")[0] if " seq=" in label or " ack=" in label else label
    yield _join(flags, notes[-1])


def _fewer_numbers(packet: Packet) -> str:
    """The label without its least useful numbers: a pure ACK's own seq, a datagram's ports, the ack of
    others."""
    if packet.kind == "udp":
        return _PORTS.sub("", packet.label)
    return (_SEQ if packet.kind == "ack" else _ACK).sub("", packet.label)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
