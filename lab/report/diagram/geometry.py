"""Where one arrow, bar or label stands, given the columns and the heights of the moments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import atan2, degrees

from lab.report.diagram.model import Bundle, Call, Diagram, Packet, State
from lab.report.diagram.shapes import (
    Anchor,
    Arrow,
    Block,
    BundleShape,
    CallShape,
    Join,
    Metrics,
    StateShape,
)
from lab.report.diagram.timemap import TimeMap
from lab.report.text import cut

_ACK = re.compile(r" ack=\d+")


def ends(packet: Packet | Bundle, index: dict[str, int]) -> tuple[int, int]:
    """Positions of sender and receiver. The wire stands beside the other end; unknown hosts count as wire."""
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


@dataclass(frozen=True)
class Geometry:
    diagram: Diagram
    m: Metrics
    blocks: tuple[Block, ...]
    wires: tuple[float, ...]
    index: dict[str, int]
    times: TimeMap
    delays: Mapping[tuple[str, str], int]  #: typical ones, by sender and receiver; ("", "") over all

    def _x(self, host: int, other: int) -> float:
        block = self.blocks[host]
        edge = block.edge_right if other > host else block.edge_left
        return edge if edge is not None else block.middle

    def _wire(self, host: int, other: int) -> float:
        """The wire beside `host`, on the way to `other`."""
        if not self.wires:
            return self.blocks[0].right
        return self.wires[min(max(host if other > host else host - 1, 0), len(self.wires) - 1)]

    def arrow(self, packet: Packet) -> Arrow:
        i, j = ends(packet, self.index)
        half = 20.0  # the fall of an arrow that ends or begins at the wire, where no time is known
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
            y1 = y2 - half
        if from_wire and packet.sent_ns is not None and not to_wire:
            y1 = max(y1, y2 - half)
        reach = abs(self._wire(i, j) - self._x(i, j)) * (1.9 if to_wire else 1.2 if self.m.narrow else 1.45)
        label_x, label_y, anchor, angle = self._label(x1, y1, x2, y2)
        text = " ".join(part for part in (packet.label, packet.payload, packet.note) if part)
        room = int(reach / self.m.char)
        if len(text) > room and packet.payload:
            text = " ".join(part for part in (packet.label, packet.note) if part)
        if len(text) > room and packet.retransmits is not None:
            text = f"{packet.label} again"
        if len(text) > room and packet.kind != "ack":
            text = _ACK.sub("", text)  # of all but an ACK, what it acknowledges tells the least
        copies = tuple(
            (self._wire(j, i), self.times.y(t) - half, self._x(j, i), self.times.y(t))
            for t in packet.copies_ns
        )
        under = f"× {packet.cause}" if packet.cause and packet.stops_at_wire else ""
        return Arrow(
            packet, x1, y1, x2, y2, cut(text, room), cut(under, room), label_x, label_y, anchor, angle, copies
        )

    def _fall(self, packet: Packet, y1: float) -> float:
        """How far a packet has come down when it is lost half-way: as its neighbours would, within reason."""
        delay = self.delays.get((packet.source, packet.target), self.delays.get(("", ""), 0))
        return min(max(self.times.y(packet.start_ns + delay // 2) - y1, 18.0), 70.0)

    def _label(self, x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, Anchor, float]:
        """Near the tail, above the line, turned with it unless that were steep."""
        right = x2 > x1
        angle = degrees(atan2(y2 - y1, x2 - x1)) if right else degrees(atan2(y1 - y2, x1 - x2))
        if abs(angle) > 50:
            angle = 0.0
        inset = 12.0
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
        return BundleShape(
            bundle, ((x1, top), (x2, far_top), (x2, far_low), (x1, low)), x, y + 4, anchor, angle
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
        text_x = x - 6 if block.call_anchor == "end" else x + 15
        whole = one_line(call)
        if self.m.narrow:
            along = cut(whole, int((y2 - y1) / self.m.char)) if y2 - y1 > 60 else ""
            return CallShape(call, x, y1, max(y2, y1 + 3), text_x, "middle", (), along)
        lines: list[tuple[float, str, bool]]
        if y2 - y1 < 2 * self.m.line - 4 and len(whole) <= room:
            lines = [(y1 + 10, whole, True)]
        else:
            outcome_y = max(y1 + 10 + self.m.line - 2, y2)
            lines = [(y1 + 10, cut(call.title, room), False)]
            if call.outcome:
                lines.append((outcome_y, cut(call.outcome, room), True))
        return CallShape(call, x, y1, max(y2, y1 + 3), text_x, block.call_anchor, tuple(lines))

    def state(self, state: State, column: int) -> StateShape:
        block = self.blocks[self.index[state.host]]
        x = block.state_x[column]
        y1, y2 = self.times.y(state.start_ns), self.times.y(end_of(state.end_ns, self.diagram))
        label = state.label
        if self.m.narrow and len(label) * self.m.char > y2 - y1:
            label = ""
        text_x = x - 4 if block.state_anchor == "end" else x + 10
        return StateShape(state, x, y1, y2, text_x, block.state_anchor, self.m.narrow, label)
