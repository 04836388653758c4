"""A `Layout` as SVG: one whole picture, or head and body apart so that a page can keep the head in view.

Every text is escaped. Colours and fonts are in `templates/diagram.css`. No shape relies on colour alone: lost
packets are broken and end in a cross, retransmissions are joined and named, states are labelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from msgspec.structs import replace

from lab.harmless import document
from lab.quantities import duration
from lab.report.diagram.layout import lay_out
from lab.report.diagram.model import Diagram, Packet, spoken_name
from lab.report.diagram.shapes import Anchor, Arrow, Block, BundleShape, Layout, MomentShape, Words
from lab.report.diagram.silences import sentence
from lab.report.text import cut

_STATE_CLASS = {
    "SYN_SENT": "open",
    "SYN_RECV": "open",
    "NEW_SYN_RECV": "open",
    "ESTABLISHED": "est",
    "FIN_WAIT1": "close",
    "FIN_WAIT2": "close",
    "CLOSE_WAIT": "close",
    "LAST_ACK": "close",
    "CLOSING": "close",
    "TIME_WAIT": "wait",
}


def _text(x: float, y: float, text: str, cls: str, anchor: Anchor = "start", turn: float = 0.0) -> str:
    rotate = f' transform="rotate({turn:.2f} {x:.1f} {y:.1f})"' if turn else ""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{cls}"{where}{rotate}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{cls}"/>'


def _rect(x: float, y: float, w: float, h: float, cls: str, r: float = 0) -> str:
    round_ = f' rx="{r:g}"' if r else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" class="{cls}"{round_}/>'


def head_height(layout: Layout) -> float:
    if layout.metrics.narrow:
        return 46
    lines = max((len(block.host.link) for block in layout.blocks), default=0)
    return 62 + 13 * lines


def head(layout: Layout) -> Iterator[str]:
    """Host names, addresses, links and the captions of the columns, from y = 0 to `head_height`."""
    height = head_height(layout)
    if layout.metrics.narrow:
        yield from _narrow_head(layout)
        yield _line(0, height - 0.5, layout.width, height - 0.5, "axis")
        return
    for block in layout.blocks:
        x, width = block.left + 2, block.right - block.left - 4
        yield _rect(x, 6, width, height - 26, "pill", 7)
        yield _text(block.middle, 24, cut(block.host.name, int(width / 9)), "host", "middle")
        yield _text(block.middle, 38, block.host.address, "small", "middle")
        for n, text in enumerate(block.host.link):
            yield _text(block.middle, 51 + 13 * n, cut(text, int(width / 5.9)), "small", "middle")
        yield from _captions(block, height - 6)
    for wire in layout.wires:
        yield _text(wire, 24, "wire", "small", "middle")
        yield _text(wire, height - 6, "packets", "caption", "middle")
    yield _text(layout.metrics.axis - 12, height - 6, "time", "caption", "end")
    yield _line(0, height - 0.5, layout.width, height - 0.5, "axis")


def _narrow_head(layout: Layout) -> Iterator[str]:
    """Host names at the outer ends: a narrow head has no room for more."""
    for n, block in enumerate(layout.blocks):
        anchor: Anchor
        if n == 0:
            anchor, x = "start", layout.metrics.axis
        elif n == len(layout.blocks) - 1:
            anchor, x = "end", block.right
        else:
            anchor, x = "middle", block.middle
        room = int(layout.width / len(layout.blocks) / 8)
        yield _text(x, 20, cut(block.host.name, room), "host", anchor)
        yield _text(x, 35, block.host.address, "small", anchor)


def _captions(block: Block, y: float) -> Iterator[str]:
    end = block.anchor == "end"
    if block.call_x:
        x = block.call_x[0] + (9 if end else 0)
        yield _text(x, y, "calls", "caption", block.anchor)
    if block.state_x:
        x = block.state_x[0] + (6 if end else 0)
        yield _text(x, y, "states", "caption", block.anchor)


def body(layout: Layout) -> Iterator[str]:
    """Everything below the head, from y = 0. Packets are focusable groups with `data-k` (p or b and a
    number) and `data-f` (flow); they have ids only in the wide drawing."""
    edges = [x for b in layout.blocks for x in (b.edge_left, b.edge_right) if x is not None]
    for shape in layout.bands:
        if shape.y2 is not None:
            yield _rect(layout.metrics.axis, shape.y1, layout.width, max(4, shape.y2 - shape.y1), "band")
    for tick in layout.ticks:
        yield _text(layout.metrics.axis - 12, tick.y + 3.5, tick.text, "tick", "end")
        yield _line(layout.metrics.axis - 8, tick.y, layout.metrics.axis - 3, tick.y, "axis")
    for wire in layout.wires:
        yield _line(wire, 0, wire, layout.height, "wire")
    for bundle in layout.bundles:
        yield from _bundle(bundle, ids=not layout.metrics.narrow)
    for arrow in layout.arrows:
        yield from _arrow(arrow, ids=not layout.metrics.narrow)
    for block in layout.blocks:
        if block.edge_left is not None and block.edge_right is not None:
            yield _rect(block.left, 0, block.right - block.left, layout.height, "block")
    for x in edges:
        yield _line(x, 0, x, layout.height, "edge")
    for join in layout.joins:
        bulge = join.x + join.out
        yield (
            f'<path class="join" data-f="{_flow(join.flow)}" d="M{join.x:.1f} {join.y1:.1f}'
            f'C{bulge:.1f} {join.y1 + 4:.1f} {bulge:.1f} {join.y2 - 4:.1f} {join.x:.1f} {join.y2:.1f}"/>'
            f'<circle class="join-end" cx="{join.x:.1f}" cy="{join.y2:.1f}" r="2.6"/>'
        )
    for state in layout.states:
        cls = f"st st-{_STATE_CLASS.get(state.state.label, 'other')}"
        span = duration((state.state.end_ns or layout.diagram.end_ns) - state.state.start_ns)
        yield (
            f"<g><title>{escape(state.state.label)}: {escape(state.state.socket)}, {span}</title>"
            + _rect(state.x, state.y1, 6, max(2.5, state.y2 - state.y1), cls, 1.5)
            + (
                _text(state.x - 3.5, state.y1 + 2, state.label, "st-text halo", "end", -90.0)
                if state.along
                else _text(state.text_x, state.y1 + 9.5, state.label, "st-text", state.anchor)
            )
            + "</g>"
        )
    for call in layout.calls:
        cls = "c-failed" if call.call.failed else "c-error" if call.call.is_error else "c-ok"
        took = "" if call.call.end_ns is None else f", {duration(call.call.end_ns - call.call.start_ns)}"
        title = f"{call.call.title}: {call.call.outcome or 'no return'}{took} ({call.call.step})"
        yield f'<g class="{cls}"><title>{escape(title)}</title>'
        yield _rect(call.x, call.y1, 9, call.y2 - call.y1, "call", 2.5)
        for y, text, outcome in call.lines:
            yield _text(call.text_x, y, text, "outcome halo" if outcome else "halo", call.anchor)
        yield "</g>"
    for moment in layout.moments:
        yield from _moment(moment)
    for said in layout.spoken:
        yield f'<g class="{said.cls}">'
        for n, text in enumerate(said.lines):
            yield _text(said.x, said.y + 13 * n, text, "said halo", said.anchor)
        yield "</g>"
    yield from _bands(layout)
    yield from _folds(layout)


def _moment(shape: MomentShape) -> Iterator[str]:
    """A diamond on the host's calls, and its words."""
    x, y = shape.x + 4.5, shape.y
    cls = "m m-error" if shape.moment.is_error else "m"
    yield f'<g class="{cls}"><title>{escape(shape.moment.text)}</title>'
    yield f'<path class="mark" d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z"/>'
    for n, text in enumerate(shape.lines):
        yield _text(shape.text_x, y + 4 + 13 * n, text, "halo", shape.anchor)
    yield "</g>"


def _flow(flow: int | None) -> str:
    return "" if flow is None else str(flow)


def _classes(packet: Packet) -> str:
    names = ["p", f"k-{packet.kind}"]
    if packet.retransmits is not None:
        names.append("again")
    if packet.discarded:
        names.append("thrown")
    names += {"lost": ["lost"], "corrupted": ["corrupted"], "in flight": ["flight"]}.get(packet.fate, [])
    return " ".join(names)


def describe(packet: Packet) -> str:
    """One sentence for a reader who cannot see the arrow."""
    way = f"{spoken_name(packet.source)} to {spoken_name(packet.target)}"
    text = f"{duration(packet.start_ns)}: {way}, {packet.label}"
    if packet.note:
        text += f", {packet.note}"
    if packet.outcome:
        text += f", {packet.outcome}"
    elif packet.delay_ns is not None:
        text += f", arrived after {duration(packet.delay_ns)}"
    return text


def _open(cls: str, key: str, flow: int | None, words: str, ids: bool) -> str:
    """Opens the group of a packet or a bundle, with its keys for the page's script and its spoken label."""
    own = f' id="{escape(key)}"' if ids else ""
    return (
        f'<g class="{cls}"{own} data-k="{escape(key)}" data-f="{_flow(flow)}" tabindex="-1" role="img" '
        f'aria-label="{escape(words)}">'
    )


def _head(arrow_x: float, y: float, x1: float, y1: float) -> str:
    """A filled arrowhead at (arrow_x, y) of a line from (x1, y1)."""
    dx, dy = arrow_x - x1, y - y1
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    ux, uy = dx / length, dy / length
    bx, by = arrow_x - 9 * ux, y - 9 * uy
    return (
        f'<path class="hd" d="M{arrow_x:.1f} {y:.1f}L{bx - 3.6 * uy:.1f} {by + 3.6 * ux:.1f}'
        f'L{bx + 3.6 * uy:.1f} {by - 3.6 * ux:.1f}Z"/>'
    )


def _cross(x: float, y: float) -> str:
    return f'<path class="x" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"/>'


def _arrow(arrow: Arrow, *, ids: bool) -> Iterator[str]:
    p = arrow.packet
    yield _open(_classes(p), f"p{p.key}", p.flow, describe(p), ids)
    if p.decisive:
        yield _line(arrow.x1, arrow.y1, arrow.x2, arrow.y2, "hot")
    yield _line(arrow.x1, arrow.y1, arrow.x2, arrow.y2, "hit")
    yield _line(arrow.x1, arrow.y1 + 3, arrow.x2, arrow.y2 + 3, "ring")
    yield _line(arrow.x1, arrow.y1, arrow.x2, arrow.y2, "ln")
    if p.fate == "lost":
        yield _cross(arrow.x2, arrow.y2)
    elif p.discarded:  # it reached the host's edge
        yield _cross(arrow.x2 + (-6 if arrow.x2 > arrow.x1 else 6), arrow.y2)
    elif p.fate == "corrupted":
        yield _cross((arrow.x1 + arrow.x2) / 2, (arrow.y1 + arrow.y2) / 2)
        yield _head(arrow.x2, arrow.y2, arrow.x1, arrow.y1)
    elif p.fate != "in flight":
        yield _head(arrow.x2, arrow.y2, arrow.x1, arrow.y1)
    for x1, y1, x2, y2 in arrow.copies:
        yield _line(x1, y1, x2, y2, "ln") + _head(x2, y2, x1, y1)
        yield _text((x1 + x2) / 2, (y1 + y2) / 2 - 3, "copy", "small halo", "middle")
    if arrow.tag:
        yield from _tags(arrow)
    yield _text(arrow.label_x, arrow.label_y, arrow.label, "halo", arrow.anchor, arrow.angle)
    yield from _words(arrow.under, "under halo")
    yield "</g>"


def _words(words: Words, cls: str) -> Iterator[str]:
    """Lines below each other, rotated together."""
    if words.angle and len(words.lines) > 1:
        yield f'<g transform="rotate({words.angle:.2f} {words.x:.1f} {words.y:.1f})">'
        yield from _words(replace(words, angle=0.0), cls)
        yield "</g>"
        return
    for n, text in enumerate(words.lines):
        yield _text(words.x, words.y + 13 * n, text, cls, words.anchor, words.angle)


def _tags(arrow: Arrow) -> Iterator[str]:
    """The letter of the flow at both ends of the line, so that either host shows whose packet it is."""
    dx, dy = arrow.x2 - arrow.x1, arrow.y2 - arrow.y1
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    for x, y, far in ((arrow.x1, arrow.y1, 15.0), (arrow.x2, arrow.y2, -22.0)):
        yield tag(x + dx / length * far, y + dy / length * far, arrow.tag)


def tag(x: float, y: float, letters: str) -> str:
    """A flow's letters in a pill about (x, y)."""
    width = 5.0 + 7.0 * len(letters)
    return _rect(x - width / 2, y - 6, width, 12, "tag", 6) + _text(x, y + 3.4, letters, "tag-text", "middle")


def _bundle(shape: BundleShape, *, ids: bool) -> Iterator[str]:
    bundle = shape.bundle
    text = f"{bundle.label} {bundle.source} to {bundle.target}, {bundle.detail}"
    again = " again" if bundle.retransmitted else ""
    label = f"{shape.tag} {bundle.label}" if shape.tag else bundle.label
    yield _open(f"p k-{bundle.kind}{again}", f"b{bundle.key}", bundle.flow, text, ids)
    yield f'<polygon class="bundle" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)}"/>'
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = shape.points
    yield _line(x1, y1, x2, y2, "ln") + _line(x4, y4, x3, y3, "ln")
    yield _head(x2, y2, x1, y1) + _head(x3, y3, x4, y4)
    yield _text(shape.label_x, shape.label_y, label, "halo", shape.anchor, shape.angle)
    if bundle.detail:
        yield _text(shape.label_x, shape.label_y + 13, bundle.detail, "under halo", shape.anchor, shape.angle)
    yield "</g>"


def _bands(layout: Layout) -> Iterator[str]:
    middle = layout.wires[0] if layout.wires else layout.width / 2
    space = layout.width - layout.metrics.axis if layout.metrics.narrow else layout.metrics.gap
    room = int((space - 40) / layout.metrics.char)
    for shape in layout.bands:
        text = cut(shape.band.text, room)
        width = len(text) * layout.metrics.char + 18
        yield f"<g><title>{escape(shape.band.text)}</title>"
        yield _line(layout.metrics.axis, shape.y1, layout.width, shape.y1, "band-line")
        yield _rect(middle - width / 2, shape.y1 - 9, width, 18, "chip", 9)
        yield _text(middle, shape.y1 + 4, text, "chip-text", "middle")
        yield "</g>"


def _folds(layout: Layout) -> Iterator[str]:
    left, right = 4.0, layout.width - 4
    middle = layout.wires[0] if layout.wires else layout.width / 2
    for fold in layout.folds:
        steps = int((right - left) // 12)
        zigzag = "".join(f"l6 {-5 if n % 2 else 5}l6 {5 if n % 2 else -5}" for n in range(steps))
        yield _rect(left, fold.y - 11, right - left, 22, "fold")
        for y in (fold.y - 11, fold.y + 11):
            yield f'<path class="fold-line" d="M{left:.1f} {y:.1f}{zigzag}"/>'
        # The time is also at the left, and only there if room is short.
        words = fold.words if layout.metrics.narrow else sentence(fold.text, fold.words)
        room = int((layout.metrics.gap_many if len(layout.blocks) > 2 else layout.metrics.gap) / 6)
        yield _text(middle, fold.y + 4, cut(words, room), "fold-text halo", "middle")
        yield _text(layout.metrics.axis - 12, fold.y + 4, f"+{fold.text}", "tick", "end")


def style() -> str:
    """The style sheet for a standalone picture: light, or dark if the reader prefers it."""
    folder = files("lab.report") / "templates"
    light = (folder / "diagram.css").read_text("utf-8")
    dark = (folder / "diagram-dark.css").read_text("utf-8")
    return f"{light}@media (prefers-color-scheme: dark) {{ .seq {{ {dark} }} }}"


def render(diagram: Diagram) -> str:
    """The whole diagram as one SVG document with its own style."""
    layout = lay_out(diagram)
    top = head_height(layout)
    height = top + layout.height
    picture = "".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" class="seq" '
            f'viewBox="0 0 {layout.width:.0f} {height:.0f}" '
            f'width="{layout.width:.0f}" height="{height:.0f}" role="group" aria-labelledby="seq-title">',
            f'<title id="seq-title">{escape(summary(diagram))}</title>',
            f"<style>{style()}</style>",
            f'<rect width="100%" height="100%" fill="var(--d-bg)"/><g>{"".join(head(layout))}</g>',
            f'<g transform="translate(0 {top:.0f})">{"".join(body(layout))}</g>',
            "</svg>\n",
        ]
    )
    return document(picture)


def summary(diagram: Diagram) -> str:
    hosts = ", ".join(host.name for host in diagram.hosts)
    lost = sum(1 for p in diagram.packets if p.fate == "lost") + sum(b.lost for b in diagram.bundles)
    thrown = sum(1 for p in diagram.packets if p.discarded) + sum(b.discarded for b in diagram.bundles)
    away = f", {thrown:,} thrown away on arrival" if thrown else ""
    return (
        f"Sequence diagram of {diagram.title}: {hosts}; {diagram.total_packets:,} packets, "
        f"{lost:,} lost{away}, {len(diagram.calls):,} calls, {duration(diagram.end_ns)}"
    )
