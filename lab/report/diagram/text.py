"""The diagram in a terminal: a grid of cells with a row for each event and hosts as vertical lines.

A packet in flight runs down the gap in a column of its own, so that arrows lean with time. A line is heavy
while its host is in a call.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from lab.harmless import clean, printed
from lab.quantities import duration, moment
from lab.report.diagram.events import (
    Became,
    Done,
    Entered,
    Event,
    Happened,
    Left,
    Many,
    Received,
    Returned,
    Sent,
    Silence,
    events,
)
from lab.report.diagram.grid import Grid, Row
from lab.report.diagram.labels import fitting
from lab.report.diagram.model import Bundle, Diagram, Moment, Packet
from lab.report.text import Paint, cells, cut, folded

_TIME = 11  #: cells of the time and the space after it

_COLOURS = {"syn": "blue", "fin": "magenta", "rst": "red", "ack": "dim", "udp": "green", "icmp": "yellow"}


def render(diagram: Diagram, *, width: int = 80, colour: bool = False, ascii: bool = False) -> str:
    """The diagram in lines of at most `width` cells, or of as many as the hosts need."""
    if not diagram.hosts:
        return "no hosts, nothing to draw\n"
    width = max(width, _TIME + 24 * max(1, len(diagram.hosts) - 1) + 6)
    return printed(_Picture(width, Paint(colour), ascii, diagram).draw(), colour=colour)


def _spaced(tag: str, text: str) -> str:
    return f"{tag} {text}" if tag else text


@dataclass(slots=True)
class _Picture(Grid):
    diagram: Diagram
    lines: dict[str, int] = field(default_factory=dict)  #: host → column of its line
    busy: dict[str, int] = field(default_factory=dict)  #: host → calls in progress
    flying: dict[int, int] = field(default_factory=dict)  #: packet → its column
    sent_at: dict[int, int] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)  #: calls shown in one row
    last_time: str = ""

    def draw(self) -> str:
        hosts = self.diagram.hosts
        span = self.width - _TIME - 3
        step = span / max(1, len(hosts) - 1)
        self.lines = {host.name: _TIME + 1 + round(n * step) for n, host in enumerate(hosts)}
        self.busy = dict.fromkeys(self.lines, 0)
        story = list(events(self.diagram))
        for n, event in enumerate(story):
            self._event(event, story[n + 1] if n + 1 < len(story) else None)
        body = [self.finish(row) for row in self.rows]
        out = [*self._head(), *body, *self._foot()]
        return "\n".join(line.rstrip() for line in out) + "\n"

    def _head(self) -> list[str]:
        names, links = [" "] * self.width, [" "] * self.width
        for n, host in enumerate(self.diagram.hosts):
            column = self.lines[host.name]
            for line, text in ((names, host.name), (links, "; ".join(host.link))):
                text = clean(text)[: self.width // max(2, len(self.lines)) - 2]
                start = column - cells(text) // 2
                if n == 0:
                    start = max(_TIME, start) if line is names else _TIME
                start = min(max(0, start), self.width - len(text))
                line[start : start + len(text)] = list(text)
        head = [self.plain("".join(names)), self.plain("".join(links))]
        return [self.paint(head[0], "bold"), self.paint(head[1], "dim")]

    def _foot(self) -> list[str]:
        marks = {
            "╳ lost at the wire": any(p.stops_at_wire for p in self.diagram.packets),
            "╳ at a host: arrived, and thrown away": any(p.discarded for p in self.diagram.packets),
            "↻ sent again": any(p.retransmits is not None for p in self.diagram.packets),
            "═ many packets": bool(self.diagram.bundles),
        }
        words = ["heavy line: in a call", *(text for text, used in marks.items() if used)]
        indent = " " * _TIME

        def wrapped(text: str) -> list[str]:
            lines = textwrap.wrap(text, self.width, initial_indent=indent, subsequent_indent=indent)
            return [self.plain(line) for line in lines]

        # A sample stays beside its words.
        legend = "   ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in words)
        lines = (line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped(legend))
        foot = ["", *(self.paint(line, "dim") for line in lines)]
        for flow in self.diagram.flows:
            if flow.tag:
                foot += wrapped(f"{flow.tag}: {flow.name} ({flow.protocol})")
        return foot + [line for sentence in self.diagram.omitted for line in wrapped(sentence)]

    # Rows and cells

    def _row(self, t_ns: int | None) -> Row:
        row = Row([" "] * self.width, [()] * self.width)
        time = "" if t_ns is None else moment(t_ns)
        if time and time != self.last_time:
            self.put(row, 0, time.rjust(_TIME - 1), ("dim",))
            self.last_time = time
        for host, column in self.lines.items():
            row.cells[column] = "┃" if self.busy[host] else "│"
        for column in self.flying.values():
            if column >= 0:
                row.cells[column] = "│"
        self.rows.append(row)
        return row

    # Events

    def _event(self, event: Event, following: Event | None) -> None:
        match event:
            case Sent(t, packet):
                self._sent(t, packet, following)
            case Received(t, packet, copy):
                self._received(t, packet, copy)
            case Many(t, bundle):
                self._many(t, bundle)
            case Entered(t, call):
                if isinstance(following, Returned) and following.call is call:
                    self.short.add(call.key)  # nothing happens during it: one line says it all
                    return
                self._say(t, call.host, f"▶ {call.title}", ("bold",))
                self.busy[call.host] += 1
            case Returned(t, call):
                style = ("red", "bold") if call.failed else ("yellow",) if call.is_error else ()
                verdict = " FAIL" if call.failed else ""
                if call.key in self.short:
                    self._say(t, call.host, f"● {call.title} {call.outcome}{verdict}", style or ("bold",))
                else:
                    self.busy[call.host] -= 1
                    name = call.title.split("(")[0]
                    self._say(t, call.host, f"◀ {name} {call.outcome}{verdict}", style)
            case Became(t, state):
                self._state(t, state.host, f"[{_spaced(self.diagram.tag(state.flow), state.label)}]")
            case Left(t, state):
                self._state(t, state.host, f"[{_spaced(self.diagram.tag(state.flow), state.label)} ends]")
            case Happened(t, moment):
                self._moment(t, moment)
            case Done(t, band):
                self._across(t, f" {band.text} ", "╌", ("yellow", "bold"))
            case Silence(_, words):
                row = self._row(None)
                for column in self.lines.values():
                    row.cells[column] = "⋮"
                text = f" {words} "
                self.put(row, (_TIME + self.width - len(text)) // 2, text, ("dim",))

    def _side(self, host: str) -> int:
        """The side of a host's words: +1 right of its line, -1 left."""
        return -1 if host == self.diagram.hosts[-1].name and len(self.lines) > 1 else 1

    def _room(self, host: str) -> int:
        columns = sorted(self.lines.values())
        at = columns.index(self.lines[host])
        if self._side(host) < 0:
            return columns[at] - columns[at - 1] - 3
        stop = columns[at + 1] if at + 1 < len(columns) else self.width
        return stop - columns[at] - 3

    def _say(self, t: int, host: str, text: str, styles: tuple[str, ...]) -> None:
        row = self._row(t)
        text = cut(clean(text), self._room(host))
        column = self.lines[host]
        start = column + 2 if self._side(host) > 0 else column - 1 - cells(text)
        self.put(row, start, text, styles)
        row.text_host = host
        row.text_end = start + cells(text) if self._side(host) > 0 else start

    def _moment(self, t: int, moment: Moment) -> None:
        if moment.host not in self.lines:
            return
        styles = ("red", "bold") if moment.is_error else ("bold",)
        for line in folded(f"◆ {clean(moment.text)}", self._room(moment.host)):
            self._say(t, moment.host, line, styles)

    def _state(self, t: int, host: str, text: str) -> None:
        if host not in self.lines:
            return
        last = self.rows[-1] if self.rows else None
        if last is not None and last.text_host == host:
            used = abs(last.text_end - self.lines[host])
            if used + cells(text) + 2 <= self._room(host):
                at = last.text_end + 1 if self._side(host) > 0 else last.text_end - 1 - cells(text)
                self.put(last, at, text, ("cyan",))
                last.text_end = at + cells(text) if self._side(host) > 0 else at
                return
        self._say(t, host, text, ("cyan",))

    def _across(self, t: int, text: str, stroke: str, styles: tuple[str, ...]) -> None:
        row = self._row(t)
        self.dash(row, _TIME, self.width, stroke, styles)
        text = cut(clean(text), self.width - _TIME - 4)
        self.put(row, (_TIME + self.width - cells(text)) // 2, text, styles)

    def _styles(self, packet: Packet) -> tuple[str, ...]:
        if packet.fate in ("lost", "corrupted") or packet.discarded:
            return ("red",)
        if packet.retransmits is not None:
            return ("yellow",)
        return tuple(filter(None, (_COLOURS.get(packet.kind, ""),)))

    def _columns(self, source: str, target: str) -> tuple[int, int]:
        """Columns of the two ends; the wire is half-way to the neighbour."""
        a, b = self.lines.get(source), self.lines.get(target)
        columns = sorted(self.lines.values())
        if a is None and b is None:
            return columns[0], columns[-1]
        if a is None or b is None:
            known = a if a is not None else b
            assert known is not None
            at = columns.index(known)
            other = columns[at + 1] if at + 1 < len(columns) else columns[at - 1]
            middle = (known + other) // 2
            return (known, middle) if a is not None else (middle, known)
        return a, b

    def _label(self, packet: Packet, room: int) -> str:
        again = ""
        if packet.retransmits is not None:
            at = self.sent_at.get(packet.retransmits)
            again = "↻" + (f" of {moment(at)}" if at is not None else "")
        tag = self.diagram.tag(packet.flow)
        return _spaced(tag, fitting(packet, room - (len(tag) + 1 if tag else 0), again=again))

    def _sent(self, t: int, packet: Packet, following: Event | None) -> None:
        self.sent_at[packet.key] = t
        a, b = self._columns(packet.source, packet.target)
        styles = self._styles(packet)
        right = b > a
        if packet.fate in ("lost", "in flight"):
            self._lost(t, packet, a, b, styles)
            return
        whole = abs(b - a) - 8
        if packet.received_ns is None:
            self._whole(t, a, b, self._label(packet, whole), styles)  # as far as is known
            return
        at_once = isinstance(following, Received) and following.packet is packet
        if at_once and packet.received_ns is not None and packet.received_ns - t < 1_000_000:
            self._whole(t, a, b, self._label(packet, whole), styles)
            self._thrown_away(packet, a, b, styles)
            self.flying[packet.key] = -1
            return
        # While others are on their way, a shorter label leaves room for all side by side.
        rooms = [abs(b - a) * 2 // 3, abs(b - a) // 2, abs(b - a) // 3]
        for room in rooms if self.flying else [abs(b - a) - 9, *rooms]:
            label = self._label(packet, room)
            column = self._free(a, b, cells(label))
            if column is not None:
                break
        if column is None:
            self.flying[packet.key] = -2
            return
        row = self._row(t)
        self._between(row, a, column, "─", styles)
        self._beside(row, a, right, cut(label, abs(column - a) - 4), styles)
        self.put(row, column, "╮" if right else "╭", styles)
        self.flying[packet.key] = column

    def _between(self, row: Row, a: int, b: int, stroke: str, styles: tuple[str, ...]) -> None:
        """Strokes over all cells between two columns."""
        self.dash(row, min(a, b) + 1, max(a, b), stroke, styles)

    def _beside(self, row: Row, column: int, right: bool, text: str, styles: tuple[str, ...]) -> None:
        """Words along an arrow that begins at a column and goes right or left."""
        self.put(row, column + 3 if right else column - 2 - cells(text), text, styles)

    def _free(self, a: int, b: int, label: int) -> int | None:
        """A free column for a packet in flight, after its label."""
        taken = set(self.flying.values()) | set(self.lines.values())
        reach = min(max(label + 4, abs(b - a) // 2), abs(b - a) - 5)
        columns = range(a + reach, b - 2, 2) if b > a else range(a - reach, b + 2, -2)
        for column in columns:
            if not taken & {column - 1, column, column + 1}:
                return column
        return None

    def _received(self, t: int, packet: Packet, copy: bool) -> None:
        a, b = self._columns(packet.source, packet.target)
        styles = self._styles(packet)
        column = self.flying.pop(packet.key, None)
        if column == -1:
            return
        if copy or column is None or column == -2:
            late = "" if packet.sent_ns is None else f" +{duration(t - packet.sent_ns)}"
            room = abs(b - a) - 8 - cells(late)
            label = f"copy of {packet.label}" if copy else self._label(packet, room) + late
            if column is not None and copy:
                self.flying[packet.key] = column
            self._whole(t, a, b, label, styles)
            if not copy:
                self._thrown_away(packet, a, b, styles)
            return
        row = self._row(t)
        head = b - 1 if b > a else b + 1
        self.put(row, column, "╰" if b > a else "╯", styles)
        self._between(row, column, head, "─", styles)
        self.put(row, head, "▶" if b > a else "◀", styles)
        self._thrown_away(packet, a, b, styles)

    def _thrown_away(self, packet: Packet, a: int, b: int, styles: tuple[str, ...]) -> None:
        """Puts a cross in place of the last row's arrowhead, and below it why the host dropped the packet."""
        if not packet.discarded:
            return
        self.put(self.rows[-1], b - 1 if b > a else b + 1, "╳", styles)
        for line in textwrap.wrap(clean(packet.cause), abs(b - a) - 4):
            self.put(self._row(None), b - 2 - cells(line) if b > a else b + 3, line, styles)

    def _whole(self, t: int, a: int, b: int, label: str, styles: tuple[str, ...], stroke: str = "─") -> None:
        """An arrow in one row: it takes hardly any time, or too much is in flight to show how it leans."""
        row = self._row(t)
        self._between(row, a, b, stroke, styles)
        self._beside(row, a, b > a, cut(label, abs(b - a) - 8), styles)
        heads = ("▶", "◀") if stroke == "─" else ("▷", "◁")
        self.put(row, b - 1 if b > a else b + 1, heads[0] if b > a else heads[1], styles)

    def _lost(self, t: int, packet: Packet, a: int, b: int, styles: tuple[str, ...]) -> None:
        row = self._row(t)
        columns = sorted(self.lines.values())
        at = columns.index(a) if a in columns else 0
        right = b > a
        wall = (
            columns[at + 1]
            if right and at + 1 < len(columns)
            else columns[at - 1]
            if not right
            else self.width
        )
        wire = (a + wall) // 2
        why = clean(packet.cause or packet.fate)
        mark = "╳" if packet.fate == "lost" else "╌"
        label = self._label(packet, abs(wall - a) - 8)
        reach = max(abs(wire - a), min(cells(label) + 5, abs(wall - a) - 3))
        end = a + reach if right else a - reach
        self._between(row, a, end, "╌", styles)
        self._beside(row, a, right, cut(label, reach - 4), styles)
        self.put(row, end, mark, styles)
        space = abs(wall - end) - 3
        if cells(why) <= space:
            self.put(row, end + 2 if right else end - 1 - cells(why), why, styles)
            return
        for line in textwrap.wrap(why, abs(wall - a) - 6):
            self._beside(self._row(t), a, right, line, styles)

    def _many(self, t: int, bundle: Bundle) -> None:
        a, b = self._columns(bundle.source, bundle.target)
        over = duration(bundle.last_sent_ns - bundle.first_sent_ns)
        label = ", ".join(part for part in (bundle.label, bundle.detail, f"in {over}") if part)
        label = _spaced(self.diagram.tag(bundle.flow), label)
        style = ("red",) if bundle.lost or bundle.discarded else ()
        self._whole(t, a, b, label, style, "═")
