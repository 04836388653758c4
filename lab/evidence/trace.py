"""The story of the packets: what each host sent, what became of it, and the flows it belongs to.

`Trace.build(captures, records)` matches two or more captures on one clock. Everything in it is made lazily
and kept; journeys are made on demand from columns, so that a million packets fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from lab.evidence.model import Records
from lab.evidence.packets import Capture, Packet
from lab.verdict import PacketRef

WIRE = "wire"  #: as a journey's source or target: the address is not a host's

Mark = Literal[
    "",
    "retransmission",
    "fast retransmission",
    "spurious retransmission",
    "out of order",
    "keep-alive",
    "keep-alive ack",
    "zero window probe",
    "zero window probe ack",
    "duplicate ack",
    "window update",
    "zero window",
]
"""What Wireshark calls a segment, from the sender's own capture. The first three are retransmissions."""

RETRANSMISSIONS = ("retransmission", "fast retransmission", "spurious retransmission")


class Fate(StrEnum):
    """What became of a packet that a host sent."""

    RECEIVED = "received"
    CORRUPTED = "corrupted"  #: received with a flipped bit
    LOST = "lost"
    IN_FLIGHT = "in flight"  #: the captures ended before it could arrive
    UNKNOWN = "unknown"  #: one of the two hosts has no capture, or it came from the wire itself


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a packet was lost. `kind` "unexplained" means that nothing in the records explains it."""

    kind: Literal[
        "drop", "cut", "partition", "power off", "loss", "queue", "corrupt", "mtu", "capture", "unexplained"
    ]
    text: str  #: for people: "dropped by rule drop-1 (steps[3])", "loss 5% on server.down", …
    rule: str | None = None  #: of a drop
    step: str | None = None  #: id of the step that caused it, None where it was so from the beginning


class Journey(NamedTuple):
    """One packet from one host to another. Not every part is always there: see `fate`."""

    number: int  #: position in `Trace.journeys`, in order of time
    source: str  #: name of the host, or WIRE
    target: str
    sent: Packet | None  #: in the sender's capture
    received: Packet | None  #: first arrival in the target's capture
    copies: tuple[Packet, ...]  #: later arrivals of the same packet: duplicates made by the network
    fate: Fate
    reordered: (
        bool  #: arrived after a packet that was sent later (RFC 4737: a sent order above it came first)
    )
    cause: Cause | None  #: of a loss
    flow: int | None  #: position in `Trace.flows`
    mark: Mark  #: of a TCP segment
    retransmits: int | None  #: the `number` of the journey whose bytes this one sends again

    @property
    def packet(self) -> Packet:
        """The packet as sent where that is known, else as received."""
        packet = self.sent or self.received
        assert packet is not None
        return packet

    @property
    def delay_ns(self) -> int | None:
        """One-way delay, None where it did not arrive or was not seen to be sent."""
        if self.sent is None or self.received is None:
            return None
        return self.received.t_ns - self.sent.t_ns

    @property
    def is_retransmission(self) -> bool:
        return self.mark in RETRANSMISSIONS

    @property
    def refs(self) -> tuple[PacketRef, ...]:
        """Where to look: sent, received, copies."""
        return tuple(p.ref for p in (self.sent, self.received, *self.copies) if p is not None)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a flow."""

    host: str  #: name, or WIRE
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Handshake:
    """The three-way handshake. Each tuple holds every transmission, in order of time.

    `ack` is the client's first segment with ACK and no SYN after a SYN-ACK (it may carry data).
    """

    syn: tuple[Journey, ...]
    syn_ack: tuple[Journey, ...]
    ack: Journey | None

    @property
    def complete(self) -> bool:
        """SYN, SYN-ACK and ACK each arrived."""
        return (
            any(j.received for j in self.syn)
            and any(j.received for j in self.syn_ack)
            and self.ack is not None
            and self.ack.received is not None
        )


@dataclass(frozen=True, slots=True)
class Close:
    """How a flow ended. `client` and `server` are the flow's ends."""

    fin_client: tuple[Journey, ...]  #: every transmission of the client's FIN
    fin_server: tuple[Journey, ...]
    ack_of_client: Journey | None  #: first segment by which the server acknowledges the client's FIN
    ack_of_server: Journey | None
    rst: tuple[Journey, ...]  #: by either side, in order of time
    first: str | None  #: host whose FIN or RST was sent first, by the senders' clocks
    segments: (
        int | None
    )  #: distinct segments of a close by FIN: 3 where a FIN carried the other's ACK, else 4

    @property
    def how(self) -> Literal["fin", "rst", "open"]:
        """`fin`: both FINs were sent and both acknowledged; `rst`: a reset was sent; else `open`."""
        if self.rst:
            return "rst"
        both = self.fin_client and self.fin_server and self.ack_of_client and self.ack_of_server
        return "fin" if both else "open"


@dataclass(frozen=True, slots=True)
class ByteStream:
    """The bytes of one direction of a TCP flow, reassembled from one capture."""

    host: str  #: whose capture
    length: int  #: contiguous bytes from the first
    sha256: str  #: of those
    complete: bool  #: no byte is missing below the highest seen, and the capture holds all of each packet


class Point(NamedTuple):
    """A point of a plot: t_ns is CLOCK_REALTIME."""

    t_ns: int
    value: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment of a flow with what the flow adds to it."""

    journey: Journey
    from_client: bool
    seq: int  #: relative: the SYN is 0, the first byte of data 1
    ack: int  #: relative to the other side's ISN; 0 without ACK
    window: int | None  #: scaled bytes; None where the handshake was not seen, so that the scale is unknown


class Flow:
    """One conversation: a TCP connection, the datagrams between two UDP ports, or ICMP between two addresses.

    A SYN with another ISN on the same ports begins a new flow. `client` is who sent the SYN, else who sent
    first.
    """

    number: int  #: position in `Trace.flows`
    protocol: str
    client: End
    server: End
    start_ns: int
    end_ns: int

    @property
    def name(self) -> str:
        """`client:40000 → server:8001`."""
        return f"{self.client.host}:{self.client.port} → {self.server.host}:{self.server.port}"

    def journeys(self) -> Sequence[Journey]:
        """All packets of the flow, both ways, in order of time."""
        raise NotImplementedError

    def segments(self) -> Iterator[Segment]:
        """The journeys of a TCP flow with relative sequence numbers and scaled windows."""
        raise NotImplementedError

    def relative(self, packet: Packet) -> tuple[int, int]:
        """Relative sequence and acknowledgement number of a packet of this flow."""
        raise NotImplementedError

    @property
    def handshake(self) -> Handshake:
        raise NotImplementedError

    @property
    def close(self) -> Close:
        raise NotImplementedError

    def stream(self, source: str, at: str) -> ByteStream:
        """The bytes that host `source` sent, as the capture of host `at` holds them."""
        raise NotImplementedError

    def rtt(self, host: str) -> list[Point]:
        """Round-trip samples at `host` in ns: data (or SYN, FIN) sent once to its acknowledgement (Karn)."""
        raise NotImplementedError

    def throughput(self, source: str, bucket_ns: int) -> list[Point]:
        """New payload bytes of `source` that arrived in each bucket, in bit/s."""
        raise NotImplementedError

    def outstanding(self, source: str) -> list[Point]:
        """Bytes sent and not yet acknowledged, as the sender's own capture shows them."""
        raise NotImplementedError


class Trace:
    """All captures of a case, matched."""

    captures: Mapping[str, Capture]
    records: Records
    end_ns: int  #: the last moment of which the captures tell

    @classmethod
    def build(cls, captures: Mapping[str, Capture], records: Records) -> Trace:
        """Captures by host name. Cheap: the work is done when first asked for."""
        raise NotImplementedError

    @property
    def journeys(self) -> Sequence[Journey]:
        """Every packet that a host sent, and those from the wire itself, in order of time (lazy sequence)."""
        raise NotImplementedError

    def select(
        self,
        source: str | None = None,
        target: str | None = None,
        match: str | Sequence[str] = "any",
        *,
        sport: int | None = None,
        dport: int | None = None,
        fate: Fate | None = None,
        protocol: str | None = None,
    ) -> Iterator[Journey]:
        """The journeys that fit, by host names, in order of time. Filters on columns: cheap for few hits.

        `match` as in a scenario. Frames that are not IP (ARP) are left out unless `protocol` asks for them.
        """
        raise NotImplementedError

    def count(
        self,
        source: str | None = None,
        target: str | None = None,
        match: str | Sequence[str] = "any",
        *,
        sport: int | None = None,
        dport: int | None = None,
        fate: Fate | None = None,
        protocol: str | None = None,
    ) -> int:
        """How many `select` gives, without making them."""
        raise NotImplementedError

    @property
    def flows(self) -> Sequence[Flow]:
        """By time of the first packet."""
        raise NotImplementedError

    def flow_between(
        self, source: str, target: str, *, sport: int | None = None, dport: int | None = None
    ) -> list[Flow]:
        """TCP flows whose client is on host `source` and whose server is on `target`."""
        raise NotImplementedError

    def unexplained(self) -> list[Journey]:
        """Lost packets that nothing in the records explains: the wire was overloaded."""
        raise NotImplementedError
