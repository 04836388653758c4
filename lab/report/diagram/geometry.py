"""The position of one arrow, bar or label, given the columns and the heights of the moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import atan2, degrees
from textwrap import wrap

from msgspec import Struct

from lab.report.diagram.labels import fitting
from lab.report.diagram.model import Bundle, Call, Diagram, Moment, Packet, State
from lab.report.diagram.shapes import (
    Anchor,
    Arrow,
    Block,
    BundleShape,
    CallShape,
    Join,
    Metrics,
    MomentShape,
    Spoken,
    StateShape,
    Words,
)
from lab.report.diagram.timemap import TimeMap
from lab.report.text import cut, folded

HALF = 20.0  #: the fall of an arrow that ends or begins at the wire, where the time is unknown
FALL = 18.0  #: the least fall of a packet that is lost half-way


def ends(packet: Packet | Bundle, index: dict[str, int]) -> tuple[int, int]:
    """Positions of sender and receiver. The wire is beside the other end; unknown hosts count as the wire."""
    source = index.get(packet.source)
    target = index.get(packet.target)
    if source is None and target is None:
        return 0, min(1, len(index) - 1)
    if source is None:
        assert target is not None
        return (target + 1 if target + 1 < len(index) else target - 1), target
    if target is None:
        return source, (source + 1 if source + 1 < len(index) else source - 1)
    return source, target


def side(host: int, other: int) -> tuple[str, int, str]:
    return ("side", host, "R" if other > host else "L")


def end_of(end_ns: int | None, diagram: Diagram) -> int:
    return diagram.end_ns if end_ns is None else end_ns


def one_line(call: Call) -> str:
    return f"{call.title} {call.outcome}".strip()


def reason(packet: Packet, m: Metrics, *, many: bool) -> tuple[str, ...]:
    """Why a packet was lost or thrown away, in as many lines as needed: it is never cut."""
    room = int(((m.gap_many if many else m.gap) - 30) / m.char)  # between two hosts
    return tuple(wrap(f"× {packet.cause}", room))


def moment_lines(moment: Moment, block: Block, m: Metrics) -> tuple[str, ...]:
    """The words beside a moment's diamond."""
    return folded(moment.text, int(block.call_width / m.char))


def spoken(diagram: Diagram, name: str) -> int:
    """The side for the words of a host's calls in a narrow drawing: +1 right of its edge, -1 left."""
    return -1 if len(diagram.hosts) > 1 and name == diagram.hosts[-1].name else 1


class Geometry(Struct, frozen=True):
    diagram: Diagram
    m: Metrics
    blocks: tuple[Block, ...]
    wires: tuple[float, ...]
    index: dict[str, int]
    times: TimeMap
    delays: Mapping[tuple[str, str], int]  #: typical delays by sender and receiver; ("", "") is over all

    def _x(self, host: int, other: int) -> float:
        block = self.blocks[host]
        edge = block.edge_right if other > host else block.edge_left
        return edge if edge is not None else block.middle

    def _wire(self, host: int, other: int) -> float:
        """The x of the wire beside `host`, on the way to `other`."""
        if not self.wires:
            return self.blocks[0].right
        return self.wires[min(max(host if other > host else host - 1, 0), len(self.wires) - 1)]

    def arrow(self, packet: Packet) -> Arrow:
        i, j = ends(packet, self.index)
        from_wire = packet.source not in self.index or packet.sent_ns is None
        to_wire = packet.target not in self.index or packet.received_ns is None or packet.stops_at_wire
        x1 = self._wire(j, i) if from_wire else self._x(i, j)
        x2 = self._wire(i, j) if to_wire else self._x(j, i)
        if packet.sent_ns is not None:
            y1 = self.times.y(packet.sent_ns)
            if to_wire or packet.received_ns is None:
                y2 = y1 + self._fall(packet, y1)
            else:
                y2 = self.times.y(packet.received_ns)
        else:
            y2 = self.times.y(packet.start_ns)
            y1 = y2 - HALF
        if from_wire and packet.sent_ns is not None and not to_wire:
            y1 = max(y1, y2 - HALF)
        tag = self.diagram.tag(packet.flow)
        inset = 12.0 + (16.0 if tag else 0.0)
        label_x, label_y, anchor, angle = self._label(x1, y1, x2, y2, inset)
        if from_wire and not to_wire:  # above its highest point, from the host's edge on: all the gap is free
            out = 12.0 if x2 > x1 else -12.0
            label_x, label_y, anchor, angle = x2 - out, y1 - 5, "end" if x2 > x1 else "start", 0.0
        half_gap = abs(self._wire(i, j) - self._x(i, j))
        if self.m.narrow:
            room = int((2 * half_gap - 8.0 - inset) / 6.0)
        else:
            room = int((half_gap * (1.9 if to_wire or from_wire else 1.45) - inset + 12.0) / self.m.char)
        under: tuple[str, ...] = ()
        under_x, under_y, under_anchor, under_angle = label_x, label_y + 18, anchor, angle
        if packet.cause and (packet.stops_at_wire or packet.discarded):
            under = reason(packet, self.m, many=len(self.blocks) > 2)
        if packet.discarded:  # shown where it happened: below the arrow's end
            out = 12.0 if x2 > x1 else -12.0
            under_x, under_y, under_angle = x2 - out, y2 + self.m.line, 0.0
            under_anchor = "end" if x2 > x1 else "start"
        elif self.m.narrow:
            under_y = y2 + self.m.line
        copies = tuple(
            (self._wire(j, i), self.times.y(t) - HALF, self._x(j, i), self.times.y(t))
            for t in packet.copies_ns
        )
        return Arrow(
            packet,
            x1,
            y1,
            x2,
            y2,
            fitting(packet, room),
            Words(under, under_x, under_y, under_anchor, under_angle),
            label_x,
            label_y,
            anchor,
            angle,
            tag,
            copies,
        )

    def _fall(self, packet: Packet, y1: float) -> float:
        """How far a packet lost half-way has fallen: as far as its neighbours would have, within limits."""
        if self.m.narrow:  # it must not cross the words below it
            return FALL
        delay = self.delays.get((packet.source, packet.target), self.delays.get(("", ""), 0))
        return min(max(self.times.y(packet.start_ns + delay // 2) - y1, FALL), 70.0)

    def _label(
        self, x1: float, y1: float, x2: float, y2: float, inset: float = 12.0
    ) -> tuple[float, float, Anchor, float]:
        """The place of a label: near the tail, above the line, turned with it unless the line is steep or a
        label needs the whole width of the gap; the time map then keeps the lines apart."""
        right = x2 > x1
        angle = degrees(atan2(y2 - y1, x2 - x1)) if right else degrees(atan2(y1 - y2, x1 - x2))
        if abs(angle) > 50 or self.m.narrow:
            angle = 0.0
        slope = (y2 - y1) / (x2 - x1) if x2 != x1 else 0.0
        x = x1 + inset if right else x1 - inset
        y = y1 + (slope * (x - x1) if angle else 0.0) - 4.0
        return x, y, ("start" if right else "end"), angle

    def bundle(self, bundle: Bundle) -> BundleShape:
        i, j = ends(bundle, self.index)
        x1 = self._x(i, j)
        top, low = self.times.y(bundle.first_sent_ns), self.times.y(bundle.last_sent_ns)
        if bundle.first_received_ns is None or bundle.last_received_ns is None:
            x2 = self._wire(i, j)
            far_top, far_low = top + 20, low + 20
        else:
            x2 = self._x(j, i)
            far_top, far_low = self.times.y(bundle.first_received_ns), self.times.y(bundle.last_received_ns)
        mid, far = (top + low) / 2, (far_top + far_low) / 2
        x, y, anchor, angle = self._label(x1, mid, x2, far)
        if self.m.narrow:  # there the time map keeps other words away
            y = top + 9.0
        return BundleShape(
            bundle,
            ((x1, top), (x2, far_top), (x2, far_low), (x1, low)),
            x,
            y + 4,
            anchor,
            angle,
            self.diagram.tag(bundle.flow),
        )

    def joins(self, arrows: Sequence[Arrow]) -> Iterator[Join]:
        by_key = {arrow.packet.key: arrow for arrow in arrows}
        latest: dict[int, int] = {}  # original → its latest transmission
        for arrow in arrows:
            first = arrow.packet.retransmits
            if first is None or first not in by_key:
                continue
            previous = by_key[latest.get(first, first)]
            latest[first] = arrow.packet.key
            i, j = ends(arrow.packet, self.index)
            if arrow.packet.source not in self.index:
                continue
            out = -12.0 if j > i else 12.0
            yield Join(arrow.packet.key, arrow.packet.flow, self._x(i, j), previous.y1, arrow.y1, out)

    def call(self, call: Call, column: int) -> CallShape:
        block = self.blocks[self.index[call.host]]
        x = block.call_x[column]
        y1, y2 = self.times.y(call.start_ns), self.times.y(end_of(call.end_ns, self.diagram))
        room = int(block.call_width / self.m.char)
        text_x = x - 6 if block.anchor == "end" else x + 15
        whole = one_line(call)
        if self.m.narrow:
            return CallShape(call, x, y1, max(y2, y1 + 3), text_x, "middle", ())
        lines: list[tuple[float, str, bool]]
        if y2 - y1 < 2 * self.m.line - 4 and len(whole) <= room:
            lines = [(y1 + 10, whole, True)]
        else:
            step = self.m.line - 2
            titles = folded(call.title, room)
            lines = [(y1 + 10 + n * step, title, False) for n, title in enumerate(titles)]
            outcome_y = max(y1 + 10 + len(titles) * step, y2)
            if call.outcome:
                # The axis shows how long it took: the result must not be cut for that.
                outcome = call.outcome if len(call.outcome) <= room else call.outcome.rpartition(" · ")[0]
                lines.append((outcome_y, cut(outcome or call.outcome, room), True))
        return CallShape(call, x, y1, max(y2, y1 + 3), text_x, block.anchor, tuple(lines))

    def moment(self, moment: Moment) -> MomentShape:
        block = self.blocks[self.index[moment.host]]
        x, y = block.call_x[0], self.times.y(moment.t_ns)
        if self.m.narrow:
            return MomentShape(moment, x, y, x, "middle", ())
        text_x = x - 6 if block.anchor == "end" else x + 15
        return MomentShape(moment, x, y, text_x, block.anchor, moment_lines(moment, block, self.m))

    def spoken(self, host: str, t_ns: int, lines: Sequence[str], cls: str) -> Spoken:
        """Words in the gap beside a host's edge, in a narrow drawing."""
        way = spoken(self.diagram, host)
        i = self.index[host]
        x = self._x(i, i + way) if self.wires else self.blocks[0].right
        return Spoken(x + 8 * way, self.times.y(t_ns) + 4, tuple(lines), "start" if way > 0 else "end", cls)

    def state(self, state: State, column: int) -> StateShape:
        block = self.blocks[self.index[state.host]]
        x = block.state_x[column]
        y1, y2 = self.times.y(state.start_ns), self.times.y(end_of(state.end_ns, self.diagram))
        label = state.label
        if tag := self.diagram.tag(state.flow):
            label = f"{tag} {label}"
        text_x = x - 4 if block.anchor == "end" else x + 10
        return StateShape(state, x, y1, y2, text_x, block.anchor, self.m.narrow, label)
