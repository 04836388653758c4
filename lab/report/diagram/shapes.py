"""The shapes of a sequence diagram with their coordinates in px, and the measures of their layout."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from lab.report.diagram.model import Band, Bundle, Call, Diagram, Host, Moment, Packet, State

Anchor = Literal["start", "middle", "end"]


class Metrics(Struct, frozen=True):
    """Widths in px. `char` is a generous width of one character of the small text."""

    axis: float = 74.0
    gap: float = 430.0
    gap_many: float = 276.0  #: between two of three or more hosts
    call_column: float = 220.0
    call_column_many: float = 164.0
    state_column: float = 92.0
    gutter: float = 22.0
    char: float = 6.1
    said_char: float = 5.6  #: `char` for the words beside a narrow drawing's edges
    line: float = 15.0
    top: float = 22.0
    bottom: float = 34.0
    state_columns: int = 2  #: connections of one host side by side; the others are in the table of states
    listen_columns: int = 2  #: listeners of one host side by side, beside the connections
    narrow: bool = False  #: words of states run along their bars, words of calls are in the gap


NARROW = Metrics(
    axis=71.0,
    gap=212.0,
    gap_many=200.0,
    call_column=18.0,
    call_column_many=18.0,
    state_column=16.0,
    gutter=13.0,
    state_columns=1,
    narrow=True,
)
"""For a phone: two hosts in about 380 px."""


class Block(Struct, frozen=True):
    """The columns of one host. Arrows begin and end at its edges; an outer host has only one edge."""

    host: Host
    left: float
    right: float
    edge_left: float | None
    edge_right: float | None
    call_x: tuple[float, ...]  #: left side of each column's bar
    call_width: float  #: of a column's texts
    state_x: tuple[float, ...]
    anchor: Anchor  #: of the texts: "end" if they are left of the bars

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


class Words(Struct, frozen=True):
    """Lines of text."""

    lines: tuple[str, ...]
    x: float
    y: float  #: baseline of the first
    anchor: Anchor
    angle: float  #: degrees of rotation about (x, y)


class Arrow(Struct, frozen=True):
    packet: Packet
    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    under: Words  #: below the arrow, why it was lost; at its end, why the host threw it away
    label_x: float
    label_y: float
    anchor: Anchor
    angle: float  #: degrees by which the label is rotated about its anchor
    tag: str = ""  #: of its flow
    copies: tuple[tuple[float, float, float, float], ...] = ()


class Join(Struct, frozen=True):
    """A curve from a packet to its retransmission, beside the sender's edge."""

    key: int
    flow: int | None
    x: float
    y1: float
    y2: float
    out: float  #: how far it bulges; negative is to the left


class BundleShape(Struct, frozen=True):
    bundle: Bundle
    points: tuple[tuple[float, float], ...]
    label_x: float
    label_y: float
    anchor: Anchor
    angle: float
    tag: str = ""  #: of its flow


class CallShape(Struct, frozen=True):
    call: Call
    x: float
    y1: float
    y2: float
    text_x: float
    anchor: Anchor
    lines: tuple[tuple[float, str, bool], ...]  #: baseline, text, whether it is the outcome


class MomentShape(Struct, frozen=True):
    moment: Moment
    x: float  #: left side of its column of calls
    y: float
    text_x: float
    anchor: Anchor
    lines: tuple[str, ...]


class Spoken(Struct, frozen=True):
    """The words of a call or a moment in a narrow drawing: in the gap, beside the host's edge."""

    x: float
    y: float  #: baseline of the first line
    lines: tuple[str, ...]
    anchor: Anchor
    cls: str  #: c-ok, c-error or c-failed


class StateShape(Struct, frozen=True):
    state: State
    x: float
    y1: float
    y2: float
    text_x: float
    anchor: Anchor
    along: bool = False  #: the label runs up along the bar
    label: str = ""


class BandShape(Struct, frozen=True):
    band: Band
    y1: float
    y2: float | None


class FoldShape(Struct, frozen=True):
    y: float
    text: str  #: how long it is
    words: str  #: what it is


class Tick(Struct, frozen=True):
    y: float
    text: str


class Layout(Struct, frozen=True):
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
    moments: tuple[MomentShape, ...] = ()
    spoken: tuple[Spoken, ...] = ()
    hidden_sockets: int = 0  #: sockets whose states have no column
