"""Small plots as SVG: time–sequence, round-trip times, throughput. Static, downsampled, with axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from msgspec import Struct

from lab.evidence.trace import RETRANSMISSIONS, Fate, Flow, Point
from lab.quantities import duration, rate

_COLUMNS = 420  #: at most this many points per line: about one per pixel
_MARKS = 260  #: at most this many special marks


class Plot(Struct, frozen=True):
    title: str
    note: str
    svg: str
    wide: bool = False


class _Axes(Struct, frozen=True):
    """Maps values to pixels."""

    width: float
    height: float
    x0: float
    x1: float
    y0: float
    y1: float
    left: float = 78.0
    right: float = 14.0
    top: float = 26.0
    bottom: float = 34.0

    def x(self, value: float) -> float:
        span = self.width - self.left - self.right
        return self.left + span * (value - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        span = self.height - self.top - self.bottom
        return self.top + span * (1 - (value - self.y0) / (self.y1 - self.y0))


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, at most `most`."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, most)
    power = 10 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    return [n * step for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _frame(axes: _Axes, y_text: Callable[[float], str], title: str) -> Iterator[str]:
    yield (
        f'<svg class="plot" viewBox="0 0 {axes.width:g} {axes.height:g}" role="img" '
        f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
    )
    low, left = axes.height - axes.bottom, axes.left
    for value in _ticks(axes.y0, axes.y1, 5):
        y = axes.y(value)
        yield f'<path class="grid" d="M{left:g} {y:.1f}H{axes.width - axes.right:g}"/>'
        yield f'<text x="{left - 7:g}" y="{y + 3.5:.1f}" text-anchor="end">{escape(y_text(value))}</text>'
    for value in _ticks(axes.x0, axes.x1, 7 if axes.width > 600 else 5):
        x = axes.x(value)
        yield f'<path class="frame" d="M{x:.1f} {low:g}v4"/>'
        yield f'<text x="{x:.1f}" y="{low + 17:g}" text-anchor="middle">{escape(_seconds(value))}</text>'
    yield f'<path class="frame" d="M{left:g} {axes.top:g}V{low:g}H{axes.width - axes.right:g}"/>'


def _seconds(value: float) -> str:
    return f"{round(value, 6):g} s"


def _key(x: float, parts: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """The legend above the plot; each part is a class, the sample's path and the words."""
    for cls, sample, words in parts:
        yield f'<g class="{cls}" transform="translate({x:.0f} 12)">{sample}</g>'
        yield f'<text class="key" x="{x + 22:.0f}" y="16">{escape(words)}</text>'
        x += 38 + 6.2 * len(words)


_LINE = '<path class="line" d="M0 0H18"/>'
_DASH = '<path class="line dash" d="M0 0H18"/>'
_TICK = '<path class="tickmark" d="M9 -5V5"/>'
_RING = '<circle class="ring" cx="9" cy="0" r="3.4"/>'
_DOT = '<circle class="dot" cx="9" cy="0" r="2.2"/>'
_CROSS = '<path class="crossmark" d="M5 -4l8 8m0 -8l-8 8"/>'


@dataclass(slots=True)
class _Side:
    """One sender's part of a flow's time–sequence plot, kept small while the flow is read."""

    data: dict[int, tuple[float, float, float]]  #: column → time, lowest and highest sequence number
    acks: dict[int, tuple[float, float]]
    lost: list[tuple[float, float]]
    again: list[tuple[float, float]]
    bytes: int = 0


def flow_plots(flow: Flow, zero: int) -> list[Plot]:
    """The plots of one TCP flow that carries data; [] if it has too little to plot."""
    start, end = flow.start_ns - zero, flow.end_ns - zero
    end += (end - start) // 40  # the effects of the last packet come a little later
    if flow.protocol != "tcp" or end <= start:
        return []
    sides = _sides(flow, zero, start, max(1, end - start))
    plots = []
    for host, other, side in (
        (flow.client.host, flow.server.host, sides[True]),
        (flow.server.host, flow.client.host, sides[False]),
    ):
        if len(side.data) >= 3:
            plots.append(_sequence(side, host, other, start / 1e9, end / 1e9))
    if not plots:
        return []
    plots += _round_trips(flow, zero, start, end)
    plots += _throughput(flow, zero, start, end, sides)
    return plots


def _sides(flow: Flow, zero: int, start: int, span: int) -> dict[bool, _Side]:
    sides = {True: _Side({}, {}, [], []), False: _Side({}, {}, [], [])}
    for segment in flow.segments():
        packet = segment.journey.packet
        t = packet.t_ns - zero
        column = (t - start) * _COLUMNS // span
        seconds = t / 1e9
        own, peer = sides[segment.from_client], sides[not segment.from_client]
        if packet.payload_len:
            end = segment.seq + packet.payload_len
            own.bytes += packet.payload_len
            again = segment.journey.mark in RETRANSMISSIONS
            if not again:  # otherwise a column would reach from resent data up to new data
                before = own.data.get(column)
                low, high = (
                    (min(before[1], segment.seq), max(before[2], end)) if before else (segment.seq, end)
                )
                own.data[column] = (before[0] if before else seconds, low, high)
            if segment.journey.fate is Fate.LOST and len(own.lost) < _MARKS:
                own.lost.append((seconds, end))
            if again and len(own.again) < _MARKS:
                own.again.append((seconds, end))
        # As the sender knows it: an acknowledgement counts once it has arrived there.
        arrived = segment.journey.received
        if segment.ack and arrived is not None:
            at = arrived.t_ns - zero
            peer.acks[(at - start) * _COLUMNS // span] = (at / 1e9, segment.ack)
    return sides


def _sequence(side: _Side, host: str, other: str, start: float, end: float) -> Plot:
    highest = max(high for _, _, high in side.data.values())
    end = max([end, *(t for t, _ in side.acks.values())])
    axes = _Axes(940, 300, min(start, 0.0) if start < 0.2 * end else start, end, 0, highest * 1.04)
    title = f"Bytes from {host} to {other}"
    out = list(_frame(axes, _bytes, f"{title}: sequence numbers over time"))
    ticks = "".join(
        f"M{axes.x(t):.1f} {axes.y(low):.1f}V{min(axes.y(high), axes.y(low) - 2.5):.1f}"
        for t, low, high in side.data.values()
    )
    out.append(f'<g class="a"><path class="tickmark" d="{ticks}"/></g>')
    key = [("a", _TICK, "segment sent")]
    if side.acks:
        points = [side.acks[column] for column in sorted(side.acks)]
        path = f"M{axes.x(points[0][0]):.1f} {axes.y(points[0][1]):.1f}"
        path += "".join(f"H{axes.x(t):.1f}V{axes.y(value):.1f}" for t, value in points[1:])
        out.append(f'<g class="c"><path class="line" d="{path}"/></g>')
        key.append(("c", _LINE, "acknowledged, at the sender"))
    if side.again:
        rings = "".join(
            f'<circle class="ring" cx="{axes.x(t):.1f}" cy="{axes.y(v):.1f}" r="3.4"/>' for t, v in side.again
        )
        out.append(f'<g class="b">{rings}</g>')
        key.append(("b", _RING, f"sent again ({len(side.again)}{'+' if len(side.again) == _MARKS else ''})"))
    if side.lost:
        crosses = "".join(f"M{axes.x(t) - 4:.1f} {axes.y(v) - 4:.1f}l8 8m0 -8l-8 8" for t, v in side.lost)
        out.append(f'<g class="bad"><path class="crossmark" d="{crosses}"/></g>')
        key.append(("bad", _CROSS, f"lost ({len(side.lost)}{'+' if len(side.lost) == _MARKS else ''})"))
    out += _key(axes.left, key)
    return Plot(title, "relative sequence numbers over time", "".join([*out, "</svg>"]), wide=True)


def _bytes(value: float) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value:g} B"


def _thin(points: Sequence[Point]) -> list[Point]:
    """Thins to at most about 2 × `_COLUMNS` points: the lowest and the highest of each column."""
    if len(points) <= _COLUMNS:
        return list(points)
    step = -(-len(points) // _COLUMNS)
    kept: list[Point] = []
    for n in range(0, len(points), step):
        part = points[n : n + step]
        low, high = min(part, key=lambda p: p.value), max(part, key=lambda p: p.value)
        kept += sorted({low, high})
    return kept


def _round_trips(flow: Flow, zero: int, start: int, end: int) -> list[Plot]:
    series = [(host, flow.rtt(host)) for host in (flow.client.host, flow.server.host)]
    known = [(host, points) for host, points in series if points]
    if sum(len(points) for _, points in known) < 3:
        return []
    top = max(point.value for _, points in known for point in points)
    axes = _Axes(460, 230, start / 1e9, end / 1e9, 0, top * 1.12)
    out = list(_frame(axes, lambda v: duration(round(v)), "Round-trip times over time"))
    key = []
    for cls, (host, points) in zip("ab", known, strict=False):
        shape = "dot" if cls == "a" else "ring"
        dots = "".join(
            f'<circle class="{shape}" cx="{axes.x((p.t_ns - zero) / 1e9):.1f}" '
            f'cy="{axes.y(p.value):.1f}" r="2.2"/>'
            for p in _thin(points)
        )
        out.append(f'<g class="{cls}">{dots}</g>')
        key.append((cls, _DOT if cls == "a" else _RING, f"at {host} ({len(points):,})"))
    out += _key(axes.left, key)
    return [Plot("Round-trip time", "from a segment sent once to its ACK", "".join([*out, "</svg>"]))]


def _throughput(flow: Flow, zero: int, start: int, end: int, sides: dict[bool, _Side]) -> list[Plot]:
    bucket = max(10_000_000, (end - start) // 100)
    series = [
        (cls, host, points)
        for cls, host, carries in (
            ("a", flow.client.host, sides[True].bytes),
            ("b", flow.server.host, sides[False].bytes),
        )
        if carries and (points := flow.throughput(host, bucket))
    ]
    if not series:
        return []
    top = max(point.value for _, _, points in series for point in points) or 1.0
    axes = _Axes(460, 230, start / 1e9, end / 1e9, 0, top * 1.12)
    out = list(_frame(axes, rate, "Throughput over time"))
    key = []
    for cls, host, points in series:
        path = "".join(
            f"{'M' if n == 0 else 'L'}{axes.x(min((p.t_ns - zero + bucket / 2) / 1e9, axes.x1)):.1f} "
            f"{axes.y(p.value):.1f}"
            for n, p in enumerate(_thin(points))
        )
        dash = " dash" if cls == "b" else ""
        out.append(f'<g class="{cls}"><path class="line{dash}" d="{path}"/></g>')
        key.append((cls, _DASH if dash else _LINE, f"from {host}"))
    out += _key(axes.left, key)
    note = f"new bytes that arrived, in steps of {duration(bucket)}"
    return [Plot("Throughput", note, "".join([*out, "</svg>"]))]
