"""Positions: a `Diagram` becomes shapes with coordinates in px, ready to be drawn. Knows nothing of SVG.

From left to right: the time, then a block for each host with its calls, its sockets' states and its edge,
and between two blocks a gap with the wire in its middle. Labels do not collide because the time map gives
each lane the room it needs; a label that is too long is cut, its whole text is in the details.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import atan2, degrees
from typing import Literal

from lab.report.diagram.lanes import spread
from lab.report.diagram.model import Band, Bundle, Call, Diagram, Host, Packet, State
from lab.report.diagram.timemap import Mark, TimeMap, build, scale_for
from lab.report.text import cut, moment, nanoseconds

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Widths in px. `char` is what one character of the small text takes, generously."""

    axis: float = 74.0
    gap: float = 430.0
    gap_many: float = 310.0  #: between two of three or more hosts
    call_column: float = 212.0
    call_column_many: float = 172.0
    state_column: float = 92.0
    gutter: float = 22.0
    char: float = 6.1
    line: float = 15.0
    top: float = 22.0
    bottom: float = 34.0


@dataclass(frozen=True, slots=True)
class Block:
    """The columns of one host. The edges are where arrows begin and end; an outer host has only one."""

    host: Host
    left: float
    right: float
    edge_left: float | None
    edge_right: float | None
    call_x: tuple[float, ...]  #: left side of each column's bar
    call_anchor: Anchor  #: "end": texts stand left of the bar
    call_width: float  #: of a column's texts
    state_x: tuple[float, ...]
    state_anchor: Anchor

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


@dataclass(frozen=True, slots=True)
class Arrow:
    packet: Packet
    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    under: str  #: a second line below the arrow: why it was lost
    label_x: float
    label_y: float
    anchor: Anchor
    angle: float  #: degrees by which the label is turned about its anchor
    copies: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Join:
    """A retransmission joined to what it sends again, beside the sender's edge."""

    key: int
    flow: int | None
    x: float
    y1: float
    y2: float
    out: float  #: how far it bulges, negative to the left


@dataclass(frozen=True, slots=True)
class BundleShape:
    bundle: Bundle
    points: tuple[tuple[float, float], ...]
    label_x: float
    label_y: float
    anchor: Anchor
    angle: float


@dataclass(frozen=True, slots=True)
class CallShape:
    call: Call
    x: float
    y1: float
    y2: float
    text_x: float
    anchor: Anchor
    lines: tuple[tuple[float, str, bool], ...]  #: baseline, text, is the outcome


@dataclass(frozen=True, slots=True)
class StateShape:
    state: State
    x: float
    y1: float
    y2: float
    text_x: float
    anchor: Anchor


@dataclass(frozen=True, slots=True)
class BandShape:
    band: Band
    y1: float
    y2: float | None


@dataclass(frozen=True, slots=True)
class FoldShape:
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Layout:
    diagram: Diagram
    metrics: Metrics
    width: float
    height: float
    blocks: tuple[Block, ...]
    wires: tuple[float, ...]
    arrows: tuple[Arrow, ...]
    joins: tuple[Join, ...]
    bundles: tuple[BundleShape, ...]
    calls: tuple[CallShape, ...]
    states: tuple[StateShape, ...]
    bands: tuple[BandShape, ...]
    folds: tuple[FoldShape, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column of its host a call or a state stands in."""

    calls: dict[int, int]  #: position in diagram.calls → column
    states: dict[int, int]
    call_count: dict[str, int]
    state_count: dict[str, int]


def lay_out(diagram: Diagram, metrics: Metrics | None = None) -> Layout:
    """The whole diagram; the height is what it takes."""
    metrics = metrics or Metrics()
    columns = _columns(diagram)
    blocks, wires, width = _blocks(diagram, metrics, columns)
    index = {block.host.name: i for i, block in enumerate(blocks)}
    scale = scale_for(
        p.received_ns - p.sent_ns
        for p in diagram.packets
        if p.sent_ns is not None and p.received_ns is not None
    )
    times = build(_marks(diagram, metrics, columns, index, blocks), scale, top=metrics.top)
    geometry = _Geometry(diagram, metrics, blocks, wires, index, times)
    arrows = tuple(geometry.arrow(packet) for packet in diagram.packets)
    return Layout(
        diagram=diagram,
        metrics=metrics,
        width=width,
        height=times.bottom + metrics.bottom,
        blocks=blocks,
        wires=wires,
        arrows=arrows,
        joins=tuple(geometry.joins(arrows)),
        bundles=tuple(geometry.bundle(bundle) for bundle in diagram.bundles),
        calls=tuple(geometry.call(call, columns.calls[i]) for i, call in enumerate(diagram.calls)),
        states=tuple(
            geometry.state(state, columns.states[i])
            for i, state in enumerate(diagram.states)
            if i in columns.states
        ),
        bands=tuple(
            BandShape(b, times.y(b.start_ns), None if b.end_ns is None else times.y(b.end_ns))
            for b in diagram.bands
        ),
        folds=tuple(FoldShape(fold.y, nanoseconds(fold.ns)) for fold in times.folds),
        ticks=tuple(_ticks(diagram, times)),
    )


_STATE_COLUMNS = 2  #: sockets of one host side by side; the others are in the table of states


def _columns(diagram: Diagram) -> _Columns:
    """Calls that overlap stand side by side, and so do sockets; a socket keeps its column."""
    calls: dict[int, int] = {}
    states: dict[int, int] = {}
    call_count: dict[str, int] = {}
    state_count: dict[str, int] = {}
    for host in diagram.hosts:
        own = [i for i, call in enumerate(diagram.calls) if call.host == host.name]
        spans = [(diagram.calls[i].start_ns, _end(diagram.calls[i].end_ns, diagram)) for i in own]
        placed = spread(spans)
        calls.update(zip(own, placed, strict=True))
        call_count[host.name] = max(placed, default=-1) + 1
        sockets: dict[str, list[int]] = {}
        for i, state in enumerate(diagram.states):
            if state.host == host.name:
                sockets.setdefault(state.socket, []).append(i)
        # Connections first: a listener's one long span tells the least.
        order = sorted(sockets.values(), key=lambda own: (diagram.states[own[0]].listener, own[0]))
        lives = [
            (diagram.states[own[0]].start_ns, _end(diagram.states[own[-1]].end_ns, diagram)) for own in order
        ]
        shown = spread(lives)
        for own, column in zip(order, shown, strict=True):
            if column < _STATE_COLUMNS:
                states.update(dict.fromkeys(own, column))
        state_count[host.name] = min(_STATE_COLUMNS, max(shown, default=-1) + 1)
    return _Columns(calls, states, call_count, state_count)


def _end(end_ns: int | None, diagram: Diagram) -> int:
    return diagram.end_ns if end_ns is None else end_ns


def _blocks(
    diagram: Diagram, m: Metrics, columns: _Columns
) -> tuple[tuple[Block, ...], tuple[float, ...], float]:
    many = len(diagram.hosts) > 2
    gap = m.gap_many if many else m.gap
    blocks: list[Block] = []
    wires: list[float] = []
    x = m.axis
    for i, host in enumerate(diagram.hosts):
        first, last = i == 0, i == len(diagram.hosts) - 1
        calls = columns.call_count[host.name] or (1 if not many else 0)
        states = columns.state_count[host.name]
        call_width = m.call_column_many if many or calls > 1 else m.call_column
        inner = calls * call_width + states * m.state_column
        width = inner + m.gutter * (1 if (first or last) and len(diagram.hosts) > 1 else 2)
        left, right = x, x + width
        if first:
            # outward from the edge: gutter, states, calls; texts end at their bars
            state_x = tuple(right - m.gutter - 6 - c * m.state_column for c in range(states))
            base = right - m.gutter - states * m.state_column
            call_x = tuple(base - 9 - c * call_width for c in range(calls))
            anchor: Anchor = "end"
        else:
            base = left + m.gutter
            state_x = tuple(base + c * m.state_column for c in range(states))
            base += states * m.state_column
            call_x = tuple(base + c * call_width for c in range(calls))
            anchor = "start"
        blocks.append(
            Block(
                host=host,
                left=left,
                right=right,
                edge_left=None if first else left,
                edge_right=None if last else right,
                call_x=call_x,
                call_anchor=anchor,
                call_width=call_width - 20,
                state_x=state_x,
                state_anchor=anchor,
            )
        )
        x = right
        if not last:
            wires.append(x + gap / 2)
            x += gap
    return tuple(blocks), tuple(wires), x + 16


_PAIR = tuple[int, int]


def _ends(packet: Packet | Bundle, index: dict[str, int]) -> _PAIR:
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


def _side(host: int, other: int) -> tuple[str, int, str]:
    return ("side", host, "R" if other > host else "L")


def _marks(
    diagram: Diagram, m: Metrics, columns: _Columns, index: dict[str, int], blocks: Sequence[Block]
) -> Iterator[Mark]:
    line = m.line
    for packet in diagram.packets:
        i, j = _ends(packet, index)
        if packet.sent_ns is not None:
            if packet.stops_at_wire:
                # Its arrow and the reason below it take room that no moment stands for.
                yield Mark(packet.sent_ns, ("lost", packet.key))
                yield Mark(packet.sent_ns + 1, ("lost", packet.key), 2 * line if packet.cause else line + 8)
            if packet.source in index:
                yield Mark(packet.sent_ns, _side(i, j), line + 2)
            else:
                yield Mark(packet.sent_ns, "wire", line)
        if packet.received_ns is not None:
            room = 11.0 if packet.sent_ns is not None else line + 6
            yield Mark(packet.received_ns, _side(j, i), room)
        for copy in packet.copies_ns:
            yield Mark(copy, _side(j, i), 7.0)
    for bundle in diagram.bundles:
        i, j = _ends(bundle, index)
        yield Mark(bundle.first_sent_ns, _side(i, j), line + 1)
        yield Mark(bundle.last_sent_ns, _side(i, j), 2 * line + 4)
        if bundle.first_received_ns is not None and bundle.last_received_ns is not None:
            yield Mark(bundle.first_received_ns, _side(j, i), 7.0)
            yield Mark(bundle.last_received_ns, _side(j, i), 2 * line)
    for n, call in enumerate(diagram.calls):
        lane = ("call", call.host, columns.calls[n])
        block = blocks[index[call.host]]
        keeps = line if len(_one_line(call)) * m.char <= block.call_width else 2 * line - 2
        yield Mark(call.start_ns, lane, 3.0, keeps)
        yield Mark(_end(call.end_ns, diagram), lane, -keeps, 3.0)
    for n, column in columns.states.items():
        state = diagram.states[n]
        yield Mark(state.start_ns, ("state", state.host, column), line - 1)
        if state.end_ns is not None:
            yield Mark(state.end_ns, "state ends")
    for band in diagram.bands:
        for i in range(len(blocks)):
            for side in "LR":
                yield Mark(band.start_ns, ("side", i, side), line, line)
        if band.end_ns is not None:
            yield Mark(band.end_ns, "bands", 24.0)
        yield Mark(band.start_ns, "bands", 24.0)
    yield Mark(0, "zero")
    yield Mark(diagram.end_ns, "end")


def _one_line(call: Call) -> str:
    return f"{call.title} {call.outcome}".strip()


@dataclass(frozen=True)
class _Geometry:
    diagram: Diagram
    m: Metrics
    blocks: tuple[Block, ...]
    wires: tuple[float, ...]
    index: dict[str, int]
    times: TimeMap

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
        i, j = _ends(packet, self.index)
        half = 20.0  # the fall of an arrow that ends or begins at the wire, where no time is known
        from_wire = packet.source not in self.index or packet.sent_ns is None
        to_wire = packet.target not in self.index or packet.received_ns is None or packet.stops_at_wire
        x1 = self._wire(j, i) if from_wire else self._x(i, j)
        x2 = self._wire(i, j) if to_wire else self._x(j, i)
        if packet.sent_ns is not None:
            y1 = self.times.y(packet.sent_ns)
            y2 = y1 + half if to_wire or packet.received_ns is None else self.times.y(packet.received_ns)
        else:
            y2 = self.times.y(packet.start_ns)
            y1 = y2 - half
        if from_wire and packet.sent_ns is not None and not to_wire:
            y1 = max(y1, y2 - half)
        reach = abs(self._wire(i, j) - self._x(i, j)) * (1.9 if to_wire else 1.45)
        label_x, label_y, anchor, angle = self._label(x1, y1, x2, y2)
        text = " ".join(part for part in (packet.label, packet.payload, packet.note) if part)
        room = int(reach / self.m.char)
        if len(text) > room and packet.payload:
            text = " ".join(part for part in (packet.label, packet.note) if part)
        copies = tuple(
            (self._wire(j, i), self.times.y(t) - half, self._x(j, i), self.times.y(t))
            for t in packet.copies_ns
        )
        under = f"× {packet.cause}" if packet.cause and packet.stops_at_wire else ""
        return Arrow(
            packet, x1, y1, x2, y2, cut(text, room), cut(under, room), label_x, label_y, anchor, angle, copies
        )

    def _label(self, x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, Anchor, float]:
        """Near the tail, above the line, turned with it unless that were steep."""
        right = x2 > x1
        angle = degrees(atan2(y2 - y1, x2 - x1)) if right else degrees(atan2(y1 - y2, x1 - x2))
        if abs(angle) > 16:
            angle = 0.0
        inset = 12.0
        slope = (y2 - y1) / (x2 - x1) if x2 != x1 else 0.0
        x = x1 + inset if right else x1 - inset
        y = y1 + (slope * (x - x1) if angle else 0.0) - 4.0
        return x, y, ("start" if right else "end"), angle

    def bundle(self, bundle: Bundle) -> BundleShape:
        i, j = _ends(bundle, self.index)
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
            i, j = _ends(arrow.packet, self.index)
            if arrow.packet.source not in self.index:
                continue
            out = -12.0 if j > i else 12.0
            yield Join(arrow.packet.key, arrow.packet.flow, self._x(i, j), previous.y1, arrow.y1, out)

    def call(self, call: Call, column: int) -> CallShape:
        block = self.blocks[self.index[call.host]]
        x = block.call_x[column]
        y1, y2 = self.times.y(call.start_ns), self.times.y(_end(call.end_ns, self.diagram))
        room = int(block.call_width / self.m.char)
        text_x = x - 6 if block.call_anchor == "end" else x + 15
        whole = _one_line(call)
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
        y1, y2 = self.times.y(state.start_ns), self.times.y(_end(state.end_ns, self.diagram))
        return StateShape(
            state, x, y1, y2, x - 4 if block.state_anchor == "end" else x + 10, block.state_anchor
        )


def _ticks(diagram: Diagram, times: TimeMap) -> Iterator[Tick]:
    """The time beside what happens, where there is room for it: packets first."""
    first = {0, diagram.end_ns, *(band.start_ns for band in diagram.bands)}
    for packet in diagram.packets:
        first.update(t for t in (packet.sent_ns, packet.received_ns) if t is not None)
    first.update(bundle.first_sent_ns for bundle in diagram.bundles)
    second = {t for call in diagram.calls for t in (call.start_ns, call.end_ns) if t is not None}
    room = 15.0
    placed: list[float] = []
    for moments in (first, second - first):
        for t in sorted(moments):
            y = times.y(t)
            at = bisect_left(placed, y)
            if all(abs(y - other) >= room for other in placed[max(0, at - 1) : at + 1]):
                placed.insert(at, y)
                yield Tick(y, moment(t))
