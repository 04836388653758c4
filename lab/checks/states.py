"""The TCP states that a host must have passed through, proven only by the packets of its own capture.

Sampling sees a state only if it lasts; packets also prove states that last for microseconds. The proof is
strict: if the packets allow two readings (a FIN that may have waited behind unsent data), nothing is proven.
Nor is it if the host's counters show that its kernel did without the socket: a SYN cookie, a TIME_WAIT for
which there was no room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from msgspec import Struct

from lab.evidence.journeys import CORRUPTED
from lab.evidence.model import CounterRecord
from lab.evidence.packets import ACK, FIN, RST, SYN, TCP, Capture
from lab.evidence.trace import Flow
from lab.verdict import PacketRef

_ALL = (1 << 32) - 1


class Proof(Struct, frozen=True):
    """The time from which a state is proven, and the packets that prove it."""

    t_ns: int
    packets: tuple[PacketRef, ...]


class _Seen(NamedTuple):
    """A segment as one host's capture shows it; sequence numbers are relative, the SYN's is 0."""

    position: int
    mine: bool  #: sent by this host
    flags: int
    seq: int
    ack: int  #: 0 without ACK
    length: int  #: of the data

    @property
    def end(self) -> int:
        """The ACK number that acknowledges it."""
        return self.seq + self.length + (self.flags & FIN)


#: States that packets do not prove if one of these counters rose: the kernel did without the socket.
_WITHOUT_SOCKET = {
    "SYN_RECV": ("TcpExtSyncookiesSent", "TcpExtTCPReqQFullDoCookies"),
    "TIME_WAIT": ("TcpExtTCPTimeWaitOverflow",),
}


def proven_states(flow: Flow, host: str, counters: CounterRecord | None = None) -> Mapping[str, Proof]:
    """The states that `host`'s end of a TCP flow passed through, each with its first proof. `counters` are
    the host's own."""
    return {
        state: proof
        for state, proof in _proven(flow, host).items()
        if counters is None or not any(counters.delta(name) > 0 for name in _WITHOUT_SOCKET.get(state, ()))
    }


def _proven(flow: Flow, host: str) -> Mapping[str, Proof]:
    columns = flow.all_journeys
    if flow.protocol != "tcp" or host not in (flow.client.host, flow.server.host):
        return {}
    capture = columns.captures[columns.hosts.index(host)] if host in columns.hosts else None
    if capture is None:
        return {}
    positions = _positions(flow, columns.hosts.index(host))
    ends = any(capture.flags[position] & (FIN | RST) for position, _ in positions)
    walk = _Walk(flow.client.host == host, capture)
    for seen in _relative(capture, positions):
        if seen.flags & RST or (not ends and "ESTABLISHED" in walk.proofs):
            break
        if seen.mine:
            walk.sent(seen)
        else:
            walk.arrived(seen)
    return walk.proofs


def _positions(flow: Flow, host: int) -> list[tuple[int, bool]]:
    """The flow's packets in a host's capture, in its order, and whether the host sent them."""
    columns = flow.all_journeys
    positions = []
    for i in flow.numbers:
        if columns.source[i] == host:
            positions.append((columns.sent[i], True))
        elif columns.target[i] == host and columns.fate[i] != CORRUPTED:  # the stack drops a corrupted packet
            positions.append((columns.received[i], False))
    return sorted(item for item in positions if item[0] >= 0)


def _relative(capture: Capture, positions: list[tuple[int, bool]]) -> Iterator[_Seen]:
    """The segments with sequence numbers relative to each side's SYN, or to one below the first seen."""
    base: dict[bool, int] = {}
    for position, mine in positions:
        if capture.protocol[position] != TCP:
            continue
        flags, seq = capture.flags[position], capture.seq[position]
        if mine not in base:
            base[mine] = seq if flags & SYN else seq - 1
        ack = 0
        if flags & ACK:
            ack = capture.ack[position] - base.setdefault(not mine, capture.ack[position] - 1) & _ALL
        yield _Seen(position, mine, flags, seq - base[mine] & _ALL, ack, capture.payload_len[position])


@dataclass
class _Walk:
    """One end of a connection, followed in the order of its capture. Sequence numbers are relative."""

    client: bool
    capture: Capture
    proofs: dict[str, Proof] = field(default_factory=dict)
    synced: bool = False  #: our SYN or SYN-ACK was seen to leave
    answered: _Seen | None = None  #: the SYN-ACK that arrived
    sent_to: int = 1  #: the next byte we would send
    acked_to: int = 1  #: what the peer has acknowledged of ours
    received_to: int = 1  #: the next byte we expect
    waiting: list[tuple[int, int]] = field(default_factory=list)  #: heap of early ranges: from, to
    peer_fin: _Seen | None = None
    peer_fin_taken: bool = False  #: it arrived in sequence
    idle_at_peer_fin: bool = False  #: nothing of ours was unacknowledged when it did
    peer_fin_before_ack: bool = False  #: it arrived before our FIN was acknowledged
    my_fin: _Seen | None = None
    my_fin_active: bool = False  #: sent before the peer's FIN was taken
    my_fin_acked: _Seen | None = None
    peer_fin_acked: _Seen | None = None

    def prove(self, state: str, at: _Seen, *more: _Seen | None) -> None:
        """Keep the first proof of a state."""
        if state not in self.proofs:
            packets = [self.capture[seen.position] for seen in (*more, at) if seen is not None]
            self.proofs[state] = Proof(packets[-1].t_ns, tuple(packet.ref for packet in packets))

    def sent(self, seen: _Seen) -> None:
        if seen.flags & SYN:
            self.synced = True
            if seen.flags & ACK:
                self.prove("SYN_RECV", seen)
                if not self.client:
                    self.prove("LISTEN", seen)
            else:
                self.prove("SYN_SENT", seen)
            return
        if self._established(seen):
            self.prove("ESTABLISHED", seen, self.answered)
        covers = self.peer_fin_taken and self.peer_fin is not None and seen.ack >= self.peer_fin.end
        if covers and self.my_fin is None and self.idle_at_peer_fin:
            self.prove("CLOSE_WAIT", seen, self.peer_fin)
        if seen.flags & FIN and self.my_fin is None:
            self.my_fin, self.my_fin_active = seen, not covers
            if self.my_fin_active:
                self.prove("FIN_WAIT1", seen)
            elif self.idle_at_peer_fin:
                self.prove("LAST_ACK", seen, self.peer_fin)
        if covers and self.peer_fin_acked is None:
            self.peer_fin_acked = seen
            self._both_closed(seen)
        self.sent_to = max(self.sent_to, seen.end)

    def _established(self, seen: _Seen) -> bool:
        """A server whose accept queue is full stays in SYN_RECV: only later packets from it prove more."""
        if not self.synced or "ESTABLISHED" in self.proofs:
            return False
        if self.client:
            return self.answered is not None and bool(seen.flags & ACK)
        return bool(seen.flags & FIN) or seen.length > 0 or seen.ack > 1

    def arrived(self, seen: _Seen) -> None:
        if seen.flags & SYN:
            if seen.flags & ACK and self.answered is None:
                self.answered = seen
            return
        if seen.flags & ACK:
            self.acked_to = max(self.acked_to, seen.ack)
            if self.my_fin is not None and seen.ack >= self.my_fin.end and self.my_fin_acked is None:
                self.my_fin_acked = seen
        self._take(seen.seq, seen.end)
        if seen.flags & FIN and self.peer_fin is None:
            self.peer_fin = seen
        if self.peer_fin is not None and not self.peer_fin_taken and self.received_to >= self.peer_fin.end:
            self.peer_fin_taken = True
            self.idle_at_peer_fin = self.acked_to >= self.sent_to
            self.peer_fin_before_ack = self.my_fin_acked is None
        if self.my_fin_active and self.my_fin_acked is seen and not self.peer_fin_taken:
            self.prove("FIN_WAIT2", seen, self.my_fin)
        self._both_closed(seen)

    def _take(self, start: int, end: int) -> None:
        """Bytes arrived: those in sequence move the edge, early ones wait."""
        if end <= self.received_to:
            return
        if start > self.received_to:
            heappush(self.waiting, (start, end))
            return
        self.received_to = end
        while self.waiting and self.waiting[0][0] <= self.received_to:
            self.received_to = max(self.received_to, heappop(self.waiting)[1])

    def _both_closed(self, seen: _Seen) -> None:
        """We closed first (or both at once): each side acknowledges the other's FIN."""
        if not self.my_fin_active or self.peer_fin_acked is None:
            return
        if self.peer_fin_before_ack:
            self.prove("CLOSING", self.peer_fin_acked, self.my_fin, self.peer_fin)
        if self.my_fin_acked is not None:
            self.prove("TIME_WAIT", seen, self.my_fin, self.my_fin_acked, self.peer_fin)
