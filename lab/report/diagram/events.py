"""The diagram as one list of events in order of time, for the terminal and Mermaid."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from lab.quantities import duration
from lab.report.diagram.model import Band, Bundle, Call, Diagram, Moment, Packet, State
from lab.report.diagram.silences import sentence, what_happens
from lab.report.diagram.timemap import scale_for


class Sent(Struct, frozen=True):
    t_ns: int
    packet: Packet


class Received(Struct, frozen=True):
    t_ns: int
    packet: Packet
    copy: bool = False


class Many(Struct, frozen=True):
    t_ns: int
    bundle: Bundle


class Entered(Struct, frozen=True):
    t_ns: int
    call: Call


class Returned(Struct, frozen=True):
    t_ns: int
    call: Call


class Became(Struct, frozen=True):
    t_ns: int
    state: State


class Done(Struct, frozen=True):
    """An action on the wire."""

    t_ns: int
    band: Band


class Left(Struct, frozen=True):
    """A socket left its last state."""

    t_ns: int
    state: State


class Happened(Struct, frozen=True):
    t_ns: int
    moment: Moment


class Silence(Struct, frozen=True):
    """A gap too long to be shown row by row. `text` describes it."""

    t_ns: int
    text: str


Event = Sent | Received | Many | Entered | Returned | Became | Left | Done | Happened | Silence

#: At the same moment, returns and arrivals come before what goes out.
_ORDER: dict[type[Event], int] = {
    Received: 0,
    Returned: 1,
    Left: 2,
    Became: 3,
    Done: 4,
    Happened: 5,
    Entered: 6,
    Sent: 7,
    Many: 8,
}


def events(diagram: Diagram) -> Iterator[Event]:
    """All events, with a `Silence` wherever nothing happens for long."""
    found = sorted(_all(diagram), key=lambda event: (event.t_ns, _ORDER[type(event)]))
    scale = scale_for(packet.delay_ns for packet in diagram.packets)
    before: int | None = None
    for event in found:
        if before is not None and event.t_ns - before >= scale.fold_ns:
            yield _silence(diagram, before, event.t_ns)
        before = event.t_ns
        yield event
    if before is not None and diagram.end_ns - before >= scale.fold_ns:
        yield _silence(diagram, before, diagram.end_ns)


def _silence(diagram: Diagram, start_ns: int, end_ns: int) -> Silence:
    took = duration(end_ns - start_ns)
    return Silence(start_ns, sentence(took, what_happens(diagram, start_ns, end_ns)))


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
    begun = {(state.host, state.socket, state.start_ns) for state in diagram.states}
    for state in diagram.states:
        yield Became(state.start_ns, state)
        if state.end_ns is not None and (state.host, state.socket, state.end_ns) not in begun:
            yield Left(state.end_ns, state)
    for band in diagram.bands:
        yield Done(band.start_ns, band)
    for moment in diagram.moments:
        yield Happened(moment.t_ns, moment)
