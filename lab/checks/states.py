"""Which TCP states a host must have passed through, proven by the packets of its own capture alone.

Sampling sees a state only if it lasts; packets prove also those that last for microseconds. What is claimed
here is strict: where the packets leave two readings (a FIN that may have waited behind unsent data), nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.evidence.packets import ACK, FIN, RST, SYN, Packet
from lab.evidence.trace import Flow, Segment
from lab.verdict import PacketRef

#: The kernel's names of all states, as the samples have them.
TCP_STATES = (
    "LISTEN",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
)


@dataclass(frozen=True, slots=True)
class Proof:
    """Since when a state is proven, and by which packets."""

    t_ns: int
    packets: tuple[PacketRef, ...]


def proven_states(flow: Flow, host: str) -> Mapping[str, Proof]:
    """The states that `host`'s end of a TCP flow passed through, with the first proof of each."""
    if flow.protocol != "tcp" or host not in (flow.client.host, flow.server.host):
        return {}
    client = flow.client.host == host
    walk = _Walk(client)
    for packet, segment in _seen_by(flow, host, client):
        if packet.flags & RST:
            break
        if segment.from_client == client:
            walk.sent(packet, segment)
        else:
            walk.arrived(packet, segment)
    return walk.proofs


def _seen_by(flow: Flow, host: str, client: bool) -> list[tuple[Packet, Segment]]:
    """The segments as this host's capture saw them, in its own order."""
    seen: list[tuple[Packet, Segment]] = []
    for segment in flow.segments():
        mine = segment.from_client == client
        packet = segment.journey.sent if mine else segment.journey.received
        if packet is not None and packet.host == host:
            seen.append((packet, segment))
    seen.sort(key=lambda pair: (pair[0].t_ns, pair[0].position))
    return seen


@dataclass
class _Walk:
    """One end of a connection, walked through in the order of its capture. Sequence numbers are relative."""

    client: bool
    proofs: dict[str, Proof] = field(default_factory=dict)
    synced: bool = False  #: our SYN or SYN-ACK was seen to leave
    answered: Packet | None = None  #: the SYN-ACK that arrived
    sent_to: int = 1  #: the next byte we would send
    acked_to: int = 1  #: what the peer has acknowledged of ours
    received_to: int = 1  #: the next byte we expect
    waiting: dict[int, int] = field(default_factory=dict)  #: what arrived early: from → to
    peer_fin: int | None = None  #: the acknowledgement that covers the peer's FIN
    peer_fin_packet: Packet | None = None
    peer_fin_taken: bool = False  #: it arrived in sequence
    idle_at_peer_fin: bool = False  #: nothing of ours was unacknowledged when it did
    peer_fin_before_ack: bool = False  #: it did so before our FIN was acknowledged
    my_fin: int | None = None
    my_fin_packet: Packet | None = None
    my_fin_active: bool = False  #: sent without having taken the peer's FIN
    my_fin_acked: Packet | None = None
    peer_fin_acked: Packet | None = None

    def prove(self, state: str, at: Packet, *more: Packet | None) -> None:
        """The first proof of a state counts."""
        if state not in self.proofs:
            packets = tuple(packet.ref for packet in (*more, at) if packet is not None)
            self.proofs[state] = Proof(at.t_ns, packets)

    def sent(self, packet: Packet, segment: Segment) -> None:
        if packet.flags & SYN:
            self.synced = True
            if packet.flags & ACK:
                self.prove("SYN_RECV", packet)
                if not self.client:
                    self.prove("LISTEN", packet)
            else:
                self.prove("SYN_SENT", packet)
            return
        fin = bool(packet.flags & FIN)
        end = segment.seq + packet.payload_len + fin
        if self._established(packet, segment, fin):
            self.prove("ESTABLISHED", packet, self.answered)
        covers = self.peer_fin_taken and self.peer_fin is not None and segment.ack >= self.peer_fin
        if covers and self.my_fin is None and self.idle_at_peer_fin:
            self.prove("CLOSE_WAIT", packet, self.peer_fin_packet)
        if fin and self.my_fin is None:
            self.my_fin, self.my_fin_packet, self.my_fin_active = end, packet, not covers
            if self.my_fin_active:
                self.prove("FIN_WAIT1", packet)
            elif self.idle_at_peer_fin:
                self.prove("LAST_ACK", packet, self.peer_fin_packet)
        if covers and self.peer_fin_acked is None:
            self.peer_fin_acked = packet
            self._both_closed(packet)
        self.sent_to = max(self.sent_to, end)

    def _established(self, packet: Packet, segment: Segment, fin: bool) -> bool:
        """A server whose accept queue is full stays in SYN_RECV: only what it says beyond that counts."""
        if not self.synced:
            return False
        if self.client:
            return self.answered is not None and bool(packet.flags & ACK)
        return fin or packet.payload_len > 0 or segment.ack > 1

    def arrived(self, packet: Packet, segment: Segment) -> None:
        if packet.flags & SYN:
            if packet.flags & ACK and self.answered is None:
                self.answered = packet
            return
        fin = bool(packet.flags & FIN)
        if packet.flags & ACK:
            self.acked_to = max(self.acked_to, segment.ack)
            if self.my_fin is not None and segment.ack >= self.my_fin and self.my_fin_acked is None:
                self.my_fin_acked = packet
        self._take(segment.seq, segment.seq + packet.payload_len + fin)
        if fin and self.peer_fin is None:
            self.peer_fin, self.peer_fin_packet = segment.seq + packet.payload_len + 1, packet
        if self.peer_fin is not None and not self.peer_fin_taken and self.received_to >= self.peer_fin:
            self.peer_fin_taken = True
            self.idle_at_peer_fin = self.acked_to >= self.sent_to
            self.peer_fin_before_ack = self.my_fin_acked is None
        if self.my_fin_active and self.my_fin_acked is packet and not self.peer_fin_taken:
            self.prove("FIN_WAIT2", packet, self.my_fin_packet)
        self._both_closed(packet)

    def _take(self, start: int, end: int) -> None:
        """Bytes arrived: what is in sequence moves the edge, what is early waits."""
        if end <= self.received_to:
            return
        if start > self.received_to:
            self.waiting[start] = max(end, self.waiting.get(start, 0))
            return
        self.received_to = end
        for early in sorted(self.waiting):
            if early > self.received_to:
                break
            self.received_to = max(self.received_to, self.waiting.pop(early))

    def _both_closed(self, packet: Packet) -> None:
        """We closed first (or both at once): our acknowledgement of the peer's FIN and its of ours."""
        if not self.my_fin_active or self.peer_fin_acked is None:
            return
        if self.peer_fin_before_ack:
            self.prove("CLOSING", self.peer_fin_acked, self.my_fin_packet, self.peer_fin_packet)
        if self.my_fin_acked is not None:
            self.prove("TIME_WAIT", packet, self.my_fin_packet, self.my_fin_acked, self.peer_fin_packet)
