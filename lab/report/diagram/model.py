"""The contents of a sequence diagram, apart from evidence and drawing: hosts, calls, states, packets, bands.

All times are nanoseconds since the zero of the case (the start of its first step); they may be negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from lab.attachment import WIRE

PacketKind = Literal["syn", "data", "ack", "fin", "rst", "udp", "icmp", "arp", "other"]
Fate = Literal["received", "corrupted", "lost", "in flight", "unknown"]


def spoken_name(host: str) -> str:
    """A packet's source or target in a sentence."""
    return "the wire" if host == WIRE else host


class Host(Struct, frozen=True):
    name: str
    address: str = ""
    link: tuple[str, ...] = ()  #: the configuration of its link: "up 20ms, loss 5%"


class Flow(Struct, frozen=True):
    number: int
    name: str  #: client:40000 → server:8001
    protocol: str
    packets: int
    tag: str = ""  #: a letter that identifies its packets if several flows are drawn


class Call(Struct, frozen=True):
    """One call, or one program, from entry to return. `end_ns` None: it had not returned at the end."""

    key: str
    host: str
    title: str  #: "c.connect(server:8001)"
    outcome: str  #: "= 5 B", "ETIMEDOUT"
    start_ns: int
    end_ns: int | None
    is_error: bool = False  #: the call returned an error, expected or not
    failed: bool = False  #: judged FAIL
    step: str = ""
    notes: tuple[str, ...] = ()


class State(Struct, frozen=True):
    """A span of time that one socket spent in one TCP state."""

    host: str
    socket: str  #: "10.0.0.10:40000 → 10.0.0.11:8001": all spans of one socket share it
    label: str  #: ESTABLISHED …
    start_ns: int
    end_ns: int | None
    listener: bool = False
    flow: int | None = None


class Packet(Struct, frozen=True):
    """One packet. At least one of `sent_ns` and `received_ns` is known."""

    key: int
    source: str
    target: str
    sent_ns: int | None
    received_ns: int | None
    kind: PacketKind
    label: str  #: "PSH,ACK seq=1 ack=1 len=11"
    fate: Fate = "received"
    flow: int | None = None
    cause: str = ""  #: of a loss at the wire or at the host: "dropped by rule drop-1 (steps[3])"
    discarded: bool = False  #: it arrived, but the receiving host's kernel threw it away
    note: str = ""  #: "retransmission", "out of order", "duplicate ack: asks for seq=1 again" …
    brief: tuple[str, ...] = ()  #: the note in ever fewer words, for little room
    retransmits: int | None = None  #: key of the packet that it retransmits
    copies_ns: tuple[int, ...] = ()  #: arrivals of duplicates that the network made
    payload: str = ""  #: short preview of printable data
    decisive: bool = False  #: a failed check points at it
    fields: Mapping[str, str] = {}  #: everything about it, for the details

    @property
    def start_ns(self) -> int:
        return self.sent_ns if self.sent_ns is not None else self.received_ns or 0

    @property
    def delay_ns(self) -> int | None:
        """From end to end, where both are known."""
        if self.sent_ns is None or self.received_ns is None:
            return None
        return self.received_ns - self.sent_ns

    @property
    def outcome(self) -> str:
        """What became of it unless it simply arrived: `lost: loss 5% on client.up`; otherwise ""."""
        if self.discarded:
            return f"corrupted, {self.cause}" if self.fate == "corrupted" else f"arrived, but {self.cause}"
        if self.fate == "received" or (self.fate == "unknown" and WIRE in (self.source, self.target)):
            return ""
        if self.fate == "unknown":
            return "no capture shows whether it arrived"
        return f"{self.fate}: {self.cause}" if self.cause else self.fate

    @property
    def stops_at_wire(self) -> bool:
        return self.fate in ("lost", "in flight") or self.received_ns is None


class Bundle(Struct, frozen=True):
    """Packets of one flow in one direction drawn as one, because nothing special happened to them or they
    are too many."""

    key: str
    source: str
    target: str
    flow: int | None
    kind: PacketKind
    packets: int
    bytes: int
    first_sent_ns: int
    last_sent_ns: int
    first_received_ns: int | None
    last_received_ns: int | None
    lost: int = 0
    discarded: int = 0  #: arrived, but were thrown away by the host's kernel
    retransmitted: int = 0
    seq: tuple[int, int] | None = None  #: relative: first byte, and the one after the last

    @property
    def label(self) -> str:
        what = {"data": "segments", "ack": "ACKs", "udp": "datagrams"}.get(self.kind, "packets")
        return f"{self.packets:,} {what}"

    @property
    def detail(self) -> str:
        parts = [f"{self.bytes:,} B"] if self.bytes else []
        if self.seq is not None and self.bytes:
            parts.append(f"seq {self.seq[0]:,}–{self.seq[1]:,}")
        if self.lost:
            parts.append(f"{self.lost:,} lost")
        if self.discarded:
            parts.append(f"{self.discarded:,} thrown away on arrival")
        if self.retransmitted:
            parts.append(f"{self.retransmitted:,} sent again")
        return ", ".join(parts)


class Band(Struct, frozen=True):
    """Something done to the wire. `end_ns` is None for a moment, otherwise the end of its effect."""

    text: str
    start_ns: int
    end_ns: int | None = None


class Moment(Struct, frozen=True):
    """An event at a host: a service that got ready, a line of its log, a signal."""

    host: str
    t_ns: int
    text: str  #: "db: ready", "db: “listening on port 5432”"
    kind: Literal["service", "log", "signal"]
    is_error: bool = False


class Diagram(Struct, frozen=True):
    title: str
    hosts: tuple[Host, ...]  #: from left to right
    flows: tuple[Flow, ...] = ()
    calls: tuple[Call, ...] = ()
    states: tuple[State, ...] = ()
    packets: tuple[Packet, ...] = ()  #: in order of time
    bundles: tuple[Bundle, ...] = ()
    bands: tuple[Band, ...] = ()
    moments: tuple[Moment, ...] = ()  #: in order of time
    end_ns: int = 0
    total_packets: int = 0  #: in the evidence, drawn or not
    omitted: tuple[str, ...] = ()  #: sentences about what is not drawn and where to find it

    def tag(self, flow: int | None) -> str:
        """The letter of a flow; "" if it is the only one."""
        return next((f.tag for f in self.flows if f.number == flow), "") if flow is not None else ""
