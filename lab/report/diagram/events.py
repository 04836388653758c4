"""The diagram as one list of happenings in order of time: what the terminal and Mermaid go through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.report.diagram.model import Band, Bundle, Call, Diagram, Packet, State
from lab.report.diagram.timemap import scale_for


@dataclass(frozen=True, slots=True)
class Sent:
    t_ns: int
    packet: Packet


@dataclass(frozen=True, slots=True)
class Received:
    t_ns: int
    packet: Packet
    copy: bool = False


@dataclass(frozen=True, slots=True)
class Many:
    t_ns: int
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Entered:
    t_ns: int
    call: Call


@dataclass(frozen=True, slots=True)
class Returned:
    t_ns: int
    call: Call


@dataclass(frozen=True, slots=True)
class Became:
    t_ns: int
    state: State


@dataclass(frozen=True, slots=True)
class Done:
    """Something was done to the wire."""

    t_ns: int
    band: Band


@dataclass(frozen=True, slots=True)
class Silence:
    t_ns: int
    ns: int


Event = Sent | Received | Many | Entered | Returned | Became | Done | Silence

#: At one moment: what came back or in before what goes out.
_ORDER = {Received: 0, Returned: 1, Became: 2, Done: 3, Entered: 4, Sent: 5, Many: 6}


def events(diagram: Diagram) -> Iterator[Event]:
    """All happenings, and a `Silence` wherever nothing happens for long."""
    found = sorted(_all(diagram), key=lambda event: (event.t_ns, _ORDER[type(event)]))
    scale = scale_for(
        p.received_ns - p.sent_ns
        for p in diagram.packets
        if p.sent_ns is not None and p.received_ns is not None
    )
    before: int | None = None
    for event in found:
        if before is not None and event.t_ns - before >= scale.fold_ns:
            yield Silence(before, event.t_ns - before)
        before = event.t_ns
        yield event
    if before is not None and diagram.end_ns - before >= scale.fold_ns:
        yield Silence(before, diagram.end_ns - before)


def _all(diagram: Diagram) -> Iterator[Event]:
    for packet in diagram.packets:
        if packet.sent_ns is not None:
            yield Sent(packet.sent_ns, packet)
        if packet.received_ns is not None and not packet.stops_at_wire:
            yield Received(packet.received_ns, packet)
        for copy in packet.copies_ns:
            yield Received(copy, packet, copy=True)
    for bundle in diagram.bundles:
        yield Many(bundle.first_sent_ns, bundle)
    for call in diagram.calls:
        yield Entered(call.start_ns, call)
        if call.end_ns is not None:
            yield Returned(call.end_ns, call)
    for state in diagram.states:
        yield Became(state.start_ns, state)
    for band in diagram.bands:
        yield Done(band.start_ns, band)
