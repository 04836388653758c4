"""Lays out a `Diagram` as shapes with coordinates in px, ready to be drawn. Knows nothing of SVG.

From left to right: the time, then a block for each host with its calls, its sockets' states and its edge,
and between two blocks a gap with the wire in its middle. Labels do not collide because the time map gives
each lane the room it needs; a label that is too long is cut, and the details have its whole text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from statistics import median

from msgspec import Struct

from lab.quantities import duration, moment
from lab.report.diagram.geometry import (
    FALL,
    HALF,
    Geometry,
    end_of,
    ends,
    moment_lines,
    one_line,
    reason,
    side,
    spoken,
)
from lab.report.diagram.lanes import spread
from lab.report.diagram.model import Diagram
from lab.report.diagram.saying import Said, saying
from lab.report.diagram.shapes import (
    Anchor,
    BandShape,
    Block,
    FoldShape,
    Layout,
    Metrics,
    Tick,
)
from lab.report.diagram.silences import what_happens
from lab.report.diagram.timemap import Mark, TimeMap, build, scale_for
from lab.report.text import folded


class _Columns(Struct, frozen=True):
    """The column within its host of each call and state."""

    calls: dict[int, int]  #: position in diagram.calls → column
    states: dict[int, int]
    call_count: dict[str, int]
    state_count: dict[str, int]
    hidden: int  #: sockets without a column


def lay_out(diagram: Diagram, metrics: Metrics | None = None) -> Layout:
    """Lays out the whole diagram, as high as it needs to be."""
    metrics = metrics or Metrics()
    columns = _columns(diagram, metrics)
    blocks, wires, width = _blocks(diagram, metrics, columns)
    index = {block.host.name: i for i, block in enumerate(blocks)}
    scale = scale_for(packet.delay_ns for packet in diagram.packets)
    said = tuple(saying(diagram, metrics)) if metrics.narrow else ()
    times = build(_marks(diagram, metrics, columns, index, blocks, said), scale, top=metrics.top)
    geometry = Geometry(diagram, metrics, blocks, wires, index, times, _typical_delays(diagram))
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
        folds=tuple(
            FoldShape(fold.y, duration(fold.ns), what_happens(diagram, fold.start_ns, fold.end_ns))
            for fold in times.folds
        ),
        ticks=tuple(_ticks(diagram, times)),
        moments=tuple(geometry.moment(moment) for moment in diagram.moments if moment.host in index),
        spoken=tuple(geometry.spoken(s.host, s.t_ns, s.lines, s.cls) for s in said),
        hidden_sockets=columns.hidden,
    )


def _typical_delays(diagram: Diagram) -> dict[tuple[str, str], int]:
    """Median one-way delays by sender and receiver; ("", "") is over all."""
    known: dict[tuple[str, str], list[int]] = {}
    for p in diagram.packets:
        if p.delay_ns is not None:
            for way in ((p.source, p.target), ("", "")):
                known.setdefault(way, []).append(p.delay_ns)
    return {way: round(median(delays)) for way, delays in known.items()}


def _columns(diagram: Diagram, m: Metrics) -> _Columns:
    """Puts overlapping calls side by side, and overlapping sockets too; a socket keeps its column.
    Listeners have columns of their own, so that many connections do not push them out."""
    calls: dict[int, int] = {}
    states: dict[int, int] = {}
    call_count: dict[str, int] = {}
    state_count: dict[str, int] = {}
    hidden = 0
    talking = {moment.host for moment in diagram.moments}
    for host in diagram.hosts:
        own = [i for i, call in enumerate(diagram.calls) if call.host == host.name]
        spans = [(diagram.calls[i].start_ns, end_of(diagram.calls[i].end_ns, diagram)) for i in own]
        placed = spread(spans)
        calls.update(zip(own, placed, strict=True))
        call_count[host.name] = max(max(placed, default=-1) + 1, 1 if host.name in talking else 0)
        sockets: dict[str, list[int]] = {}
        for i, state in enumerate(diagram.states):
            if state.host == host.name:
                sockets.setdefault(state.socket, []).append(i)
        first = 0
        for listener, most in ((False, m.state_columns), (True, m.listen_columns)):
            alike = [own for own in sockets.values() if diagram.states[own[0]].listener is listener]
            lives = [
                (diagram.states[own[0]].start_ns, end_of(diagram.states[own[-1]].end_ns, diagram))
                for own in alike
            ]
            shown = spread(lives)
            for own, column in zip(alike, shown, strict=True):
                if column < most:
                    states.update(dict.fromkeys(own, first + column))
                else:
                    hidden += 1
            first += min(most, max(shown, default=-1) + 1)
        state_count[host.name] = first
    return _Columns(calls, states, call_count, state_count, hidden)


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
                call_width=call_width - 20,
                state_x=state_x,
                anchor=anchor,
            )
        )
        x = right
        if not last:
            wires.append(x + gap / 2)
            x += gap
    if m.narrow and len(blocks) == 1:
        x += gap  # its words are beside it in any case
    return tuple(blocks), tuple(wires), x + 16


def _marks(
    diagram: Diagram,
    m: Metrics,
    columns: _Columns,
    index: dict[str, int],
    blocks: Sequence[Block],
    said: Sequence[Said],
) -> Iterator[Mark]:
    line = m.line
    many = len(blocks) > 2
    for packet in diagram.packets:
        i, j = ends(packet, index)
        if packet.sent_ns is not None:
            if packet.stops_at_wire:
                # Its arrow and the reason below it take room that belongs to no moment; only a fold must
                # stay clear of it, while other arrows may cross.
                lines = len(reason(packet, m, many=many)) if packet.cause else 0
                yield Mark(packet.sent_ns, ("lost", packet.key), 0.0, (lines + 1) * line + 4)
                if packet.cause:
                    yield Mark(packet.sent_ns, side(i, j), 0.0, lines * line)
            if packet.source in index:
                yield Mark(packet.sent_ns, side(i, j), line + 2)
            else:
                yield Mark(packet.sent_ns, "wire", line)
        if packet.received_ns is not None:
            room = 11.0 if packet.sent_ns is not None else HALF + line + 6
            keeps = 4 + line * len(reason(packet, m, many=many)) if packet.discarded else 0.0
            yield Mark(packet.received_ns, side(j, i), room, keeps)
        for copy in packet.copies_ns:
            yield Mark(copy, side(j, i), 7.0)
    for bundle in diagram.bundles:
        i, j = ends(bundle, index)
        yield Mark(bundle.first_sent_ns, side(i, j), line + 1)
        yield Mark(bundle.last_sent_ns, side(i, j), 2 * line + 4)
        if bundle.first_received_ns is not None and bundle.last_received_ns is not None:
            yield Mark(bundle.first_received_ns, side(j, i), 7.0)
            yield Mark(bundle.last_received_ns, side(j, i), 2 * line)
    for n, call in enumerate(diagram.calls):
        if m.narrow:  # its words are marked below
            yield Mark(call.start_ns, "calls")
            yield Mark(end_of(call.end_ns, diagram), "calls")
            continue
        lane = ("call", call.host, columns.calls[n])
        block = blocks[index[call.host]]
        room = int(block.call_width / m.char)
        titles = len(folded(call.title, room))
        keeps = line if len(one_line(call)) <= room else (titles + 1) * line - 2
        yield Mark(call.start_ns, lane, 3.0, keeps)
        yield Mark(end_of(call.end_ns, diagram), lane, -keeps, 3.0)
    for n, column in columns.states.items():
        state = diagram.states[n]
        if m.narrow:  # a bar is as long as its word
            tag = diagram.tag(state.flow)
            word = (len(state.label) + (len(tag) + 1 if tag else 0)) * m.char + 5
            yield Mark(state.start_ns, ("state", state.host, column), 0.0, word)
            yield Mark(end_of(state.end_ns, diagram), ("state", state.host, column))
            continue
        yield Mark(state.start_ns, ("state", state.host, column), line - 1)
        if state.end_ns is not None:
            yield Mark(state.end_ns, "state ends")
    for band in diagram.bands:
        for i in range(len(blocks)):
            for way in "LR":
                yield Mark(band.start_ns, ("side", i, way), line, line)
        if band.end_ns is not None:
            yield Mark(band.end_ns, "bands", 24.0)
        yield Mark(band.start_ns, "bands", 24.0)
    if m.narrow:
        yield from _marks_of_words(diagram, m, index, said)
    else:
        for moment in diagram.moments:
            if moment.host in index:
                lines = len(moment_lines(moment, blocks[index[moment.host]], m))
                yield Mark(moment.t_ns, ("call", moment.host, 0), 6.0, lines * line)
    yield Mark(0, "zero")
    yield Mark(diagram.end_ns, "end")


def _marks_of_words(
    diagram: Diagram, m: Metrics, index: dict[str, int], said: Sequence[Said]
) -> Iterator[Mark]:
    """Marks for a narrow drawing, where the labels of both sides share a gap: each has its own height."""
    for packet in diagram.packets:
        i, j = ends(packet, index)
        gap = ("gap", min(i, j))
        many = len(index) > 2
        under = FALL + m.line * len(reason(packet, m, many=many)) if packet.cause else 0.0
        if packet.sent_ns is not None:
            yield Mark(packet.sent_ns, gap, m.line, under if packet.stops_at_wire else 0.0)
        if packet.received_ns is not None and packet.sent_ns is None:
            yield Mark(packet.received_ns, gap, m.line + HALF)
        if packet.received_ns is not None and packet.discarded:
            yield Mark(packet.received_ns, gap, 0.0, under - FALL + 4)
    for bundle in diagram.bundles:
        i, j = ends(bundle, index)
        yield Mark(bundle.first_sent_ns, ("gap", min(i, j)), m.line, 2 * m.line + 4)
    for one in said:
        i = index[one.host]
        way = spoken(diagram, one.host)
        gap = ("gap", i if way > 0 else i - 1)
        keeps = 6.0 + m.line * (len(one.lines) - 1)
        yield Mark(one.t_ns, gap, m.line, keeps)
        yield Mark(one.t_ns, side(i, i + way), 11.0, keeps)


def _ticks(diagram: Diagram, times: TimeMap) -> Iterator[Tick]:
    """The times beside events, where they fit: packets first."""
    first = {0, diagram.end_ns, *(band.start_ns for band in diagram.bands)}
    for packet in diagram.packets:
        first.update(t for t in (packet.sent_ns, packet.received_ns) if t is not None)
    first.update(bundle.first_sent_ns for bundle in diagram.bundles)
    first.update(moment.t_ns for moment in diagram.moments)
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
