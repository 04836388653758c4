"""The types of the packets' story: journeys, fates, causes, handshakes, closes."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal, NamedTuple

from msgspec import Struct

from lab.evidence.packets import Packet
from lab.verdict import PacketRef

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

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
"""The kind of a segment, in Wireshark's words, by the sender's own capture."""

RETRANSMISSIONS = ("retransmission", "fast retransmission", "spurious retransmission")


class Fate(StrEnum):
    """What became of a packet that a host sent."""

    RECEIVED = "received"
    CORRUPTED = "corrupted"  #: received with a flipped bit
    LOST = "lost"
    IN_FLIGHT = "in flight"  #: the captures ended before it could arrive
    UNKNOWN = "unknown"  #: one of the two hosts has no capture, or it came from the wire itself


class Cause(Struct, frozen=True):
    """Why a packet was lost, or discarded on arrival.

    `kind` "unexplained" means that nothing in the records explains it.
    """

    kind: Literal[
        "drop",
        "cut",
        "partition",
        "network",  #: the two hosts share none
        "power off",
        "loss",
        "queue",
        "corrupt",
        "mtu",
        "ttl",  #: it ended at the wire's router
        "fragment",  #: another fragment of its datagram was lost
        "checksum",  #: from here on: it arrived, and the receiving host's own kernel discarded it
        "accept queue",
        "receive buffer",
        "no socket",
        "capture",  #: the target's capture itself lost packets
        "unexplained",
    ]
    text: str  #: in words: "dropped by rule drop-1 (steps[3])", "loss 5% on server.down", …
    rule: str | None = None  #: of a drop
    step: str | None = None  #: id of the step that caused it, None if configured from the start


class Journey(NamedTuple):
    """One packet from one host to another. Some parts may be missing: see `fate`."""

    number: int  #: position in `Trace.journeys`, in order of time
    source: str  #: name of the host, or WIRE
    target: str
    sent: Packet | None  #: in the sender's capture
    received: Packet | None  #: first arrival in the target's capture
    copies: tuple[Packet, ...]  #: later arrivals of the same packet: duplicates made by the network
    fate: Fate
    reordered: bool  #: arrived after a packet that was sent later (RFC 4737)
    cause: Cause | None  #: of a loss
    flow: int | None  #: position in `Trace.flows`
    mark: Mark  #: of a TCP segment
    retransmits: int | None  #: the `number` of the journey whose bytes this one retransmits
    discarded: Cause | None = None  #: it arrived, and the receiving host's own kernel discarded it

    @property
    def packet(self) -> Packet:
        """The packet as sent if that is known, otherwise as received."""
        packet = self.sent or self.received
        assert packet is not None
        return packet

    @property
    def delay_ns(self) -> int | None:
        """One-way delay in ns, None if it did not arrive or its sending was not seen."""
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


class End(Struct, frozen=True):
    """One end of a flow."""

    host: str  #: name, or WIRE
    address: str
    port: int


class Handshake(Struct, frozen=True):
    """The first two parts of the three-way handshake. Each tuple holds every transmission, in order of time:
    `syn` of the client, `syn_ack` of the server."""

    syn: tuple[Journey, ...]
    syn_ack: tuple[Journey, ...]


class Close(Struct, frozen=True):
    """How a flow ended. `client` and `server` are the flow's ends."""

    fin_client: tuple[Journey, ...]  #: every transmission of the client's FIN
    fin_server: tuple[Journey, ...]
    ack_of_client: Journey | None  #: first segment by which the server acknowledges the client's FIN
    ack_of_server: Journey | None
    rst: tuple[Journey, ...]  #: by either side, in order of time
    first: str | None  #: host whose FIN or RST was sent first, by the senders' clocks
    segments: (
        int | None
    )  #: distinct segments of a close by FIN: 3 if a FIN carried the other's ACK, otherwise 4

    @property
    def how(self) -> Literal["fin", "rst", "open"]:
        """`fin`: both FINs were sent and acknowledged before any reset; `rst`: a reset ended it; otherwise
        `open`. A reset that answers a late packet after an orderly close changes nothing."""
        reset = self.rst[0].number if self.rst else None
        if self.fin_client and self.fin_server and self.ack_of_client and self.ack_of_server:
            last = max(self.ack_of_client.number, self.ack_of_server.number)
            if reset is None or last < reset:
                return "fin"
        return "open" if reset is None else "rst"


class ByteStream(Struct, frozen=True):
    """The bytes of one direction of a TCP flow, reassembled from one capture."""

    host: str  #: the capturing host
    length: int  #: contiguous bytes from the first
    sha256: str  #: of those
    complete: bool  #: no byte is missing below the highest seen, and the capture holds all of each packet


class Point(NamedTuple):
    """A point of a plot: t_ns is CLOCK_REALTIME."""

    t_ns: int
    value: float


class Segment(Struct, frozen=True):
    """A TCP segment with the context of its flow."""

    journey: Journey
    from_client: bool
    seq: int  #: relative: the SYN is 0, the first byte of data 1
    ack: int  #: relative to the other side's ISN; 0 without ACK
    window: int | None  #: scaled bytes; None if the handshake was not seen, so the scale is unknown
