"""Flows: TCP connections and other conversations, with their handshake, close, bytes and measurements."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import overload

from lab.evidence.journeys import CORRUPTED, Journeys
from lab.evidence.match import NOBODY
from lab.evidence.packets import ACK, FIN, RST, SYN, Capture, Packet, protocol_name
from lab.evidence.streams import reassemble, stream_head
from lab.evidence.types import EMPTY_SHA256, ByteStream, Close, End, Handshake, Journey, Point, Segment

_ALL, _HALF = (1 << 32) - 1, 1 << 31
_NS = 1_000_000_000


@dataclass(eq=False)
class Flow(Sequence[Journey]):
    """One conversation: a TCP connection, the datagrams between two UDP ports, or ICMP between two addresses.

    As a sequence: its journeys, both ways, in order of time. A SYN with another ISN on the same ports begins
    a new flow; late packets of the earlier connection stay with that. `client` sent the SYN (the first of two
    that crossed), otherwise the first packet. ICMP errors belong to the flow that they quote.
    """

    number: int  #: position in `Trace.flows`
    protocol: str  #: tcp, udp, icmp …
    client: End
    server: End
    client_isn: int | None  #: of the SYN; if none was seen, one below the first sequence number
    all_journeys: Journeys = field(repr=False)
    numbers: array[int] = field(repr=False)  #: of its journeys, in order of time
    previous: int | None = None  #: number of the earlier flow with the same addresses and ports
    _streams: dict[tuple[str, str], ByteStream] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Journey: ...
    @overload
    def __getitem__(self, index: slice) -> list[Journey]: ...
    def __getitem__(self, index: int | slice) -> Journey | list[Journey]:
        if isinstance(index, slice):
            return [self.all_journeys[i] for i in self.numbers[index]]
        return self.all_journeys[self.numbers[index]]

    @property
    def name(self) -> str:
        """`client:40000 → server:8001`; without ports if it has none."""
        ends = (f"{end.host}:{end.port}" if end.port else end.host for end in (self.client, self.server))
        return " → ".join(ends)

    @property
    def start_ns(self) -> int:
        return self.all_journeys.t_ns[self.numbers[0]]

    @property
    def end_ns(self) -> int:
        return self.all_journeys.t_ns[self.numbers[-1]]

    def _from_client(self, capture: Capture, position: int) -> bool:
        return (
            capture.sport[position] == self.client.port
            and capture.address(capture.source[position]) == self.client.address
        )

    @cached_property
    def simultaneous(self) -> bool:
        """Whether both sides opened it: the server, too, sent a SYN without ACK."""
        return any(
            not from_client and capture.flags[position] & (SYN | ACK) == SYN
            for _, capture, position, from_client in self._seen
        )

    @cached_property
    def turned(self) -> Flow:
        """A simultaneous open from the other side."""
        return replace(self, client=self.server, server=self.client, client_isn=self._isn[1])

    @cached_property
    def _seen(self) -> list[tuple[int, Capture, int, bool]]:
        """(journey, capture, position, from the client) of the flow's own packets, in order of time."""
        seen: list[tuple[int, Capture, int, bool]] = []
        everything = self.all_journeys
        tellers = {c: self._teller(c) for c in everything.captures if c is not None}
        for number in self.numbers:
            capture, position = everything.seen(number)
            from_client = tellers[capture](position)
            if from_client is not None:
                seen.append((number, capture, position, from_client))
        return seen

    def _teller(self, capture: Capture) -> Callable[[int], bool | None]:
        """Tells whether the packet at a position is the client's; None for another protocol."""
        number, port = capture.number_of(self.client.address), self.client.port
        protocols, sources, sports = capture.protocol, capture.source, capture.sport
        wanted = {name: code for code in {*protocols} for name in [protocol_name(code)]}.get(self.protocol)

        def tell(position: int) -> bool | None:
            if protocols[position] != wanted:
                return None
            return sources[position] == number and sports[position] == port

        return tell

    @cached_property
    def _isn(self) -> tuple[int | None, int | None]:
        """First sequence numbers of client and server."""
        server: int | None = None
        first_ack: int | None = None
        first_seq: int | None = None
        for _, capture, position, from_client in self._seen:
            if from_client:
                if first_ack is None and capture.flags[position] & (ACK | RST) == ACK:
                    first_ack = capture.ack[position]
            elif capture.flags[position] & SYN:
                server = capture.seq[position]
                break
            elif first_seq is None and not capture.flags[position] & RST:
                first_seq = capture.seq[position]
        if server is None and first_ack is not None:
            server = first_ack - 1 & _ALL
        if server is None and first_seq is not None:
            server = first_seq - 1 & _ALL
        return self.client_isn, server

    @cached_property
    def _scales(self) -> tuple[int, int] | None:
        """Window scales of client and server; None if the handshake was not seen."""
        client: int | None = None
        for _, capture, position, from_client in self._seen:
            if capture.flags[position] & SYN:
                scale = capture[position].options.window_scale
                if from_client:
                    client = -1 if scale is None else scale
                elif client is not None:
                    return (0, 0) if client < 0 or scale is None else (client, scale)
        return None

    def relative(self, packet: Packet) -> tuple[int, int]:
        """Relative sequence and acknowledgement number (0 without ACK) of a packet of this flow."""
        return self._relative(
            packet.capture, packet.position, self._from_client(packet.capture, packet.position)
        )

    def _relative(self, capture: Capture, position: int, from_client: bool) -> tuple[int, int]:
        client, server = self._isn
        own, other = (client, server) if from_client else (server, client)
        seq = capture.seq[position] - own & _ALL if own is not None else 0
        acks = capture.flags[position] & ACK and other is not None
        return seq, capture.ack[position] - (other or 0) & _ALL if acks else 0

    def segments(self) -> Iterator[Segment]:
        """The journeys of a TCP flow with relative sequence numbers and scaled windows."""
        scales = self._scales
        for number, capture, position, from_client in self._seen:
            seq, ack = self._relative(capture, position, from_client)
            window: int | None = capture.window[position]
            if not capture.flags[position] & SYN:
                window = None if scales is None else capture.window[position] << scales[not from_client]
            yield Segment(self.all_journeys[number], from_client, seq, ack, window)

    @cached_property
    def handshake(self) -> Handshake:
        syn: list[Journey] = []
        syn_ack: list[Journey] = []
        for number, capture, position, from_client in self._seen:
            if not capture.flags[position] & SYN:
                continue
            if capture.flags[position] & ACK:
                if not from_client:
                    syn_ack.append(self.all_journeys[number])
            elif from_client:
                syn.append(self.all_journeys[number])
        return Handshake(tuple(syn), tuple(syn_ack))

    @cached_property
    def close(self) -> Close:
        fins: tuple[list[Journey], list[Journey]] = ([], [])
        ends: list[int | None] = [None, None]  # the ACK number for the FIN of client and server
        carried = 0  # FINs whose first transmission acknowledges the other's FIN
        acks: list[Journey | None] = [None, None]
        resets: list[Journey] = []
        first: str | None = None
        for number, capture, position, from_client in self._seen:
            flags = capture.flags[position]
            side = 0 if from_client else 1
            if flags & RST:
                resets.append(self.all_journeys[number])
                first = first or self._host(from_client)
                continue
            other = ends[1 - side]
            covers = (
                flags & ACK
                and other is not None
                and acks[1 - side] is None
                and (capture.ack[position] - other & _ALL) < _HALF
            )
            if covers:
                acks[1 - side] = self.all_journeys[number]
                if flags & FIN and not fins[side]:
                    carried += 1
            if flags & FIN:
                if ends[side] is None:
                    ends[side] = capture.seq[position] + capture.payload_len[position] + 1 & _ALL
                fins[side].append(self.all_journeys[number])
                first = first or self._host(from_client)
        whole = fins[0] and fins[1] and acks[0] is not None and acks[1] is not None
        return Close(
            tuple(fins[0]),
            tuple(fins[1]),
            acks[0],
            acks[1],
            tuple(resets),
            first,
            4 - carried if whole else None,
        )

    def _host(self, from_client: bool) -> str:
        return self.client.host if from_client else self.server.host

    def _is_client(self, host: str) -> bool:
        if host not in (self.client.host, self.server.host):
            raise ValueError(f"{host!r} is not an end of {self.name}")
        return host == self.client.host

    def _at(self, host: str) -> Iterator[tuple[Capture, int, bool]]:
        """(capture, position, from the client) of the flow's packets that one end sent or received, in order
        of its capture, including copies."""
        everything = self.all_journeys
        number = everything.hosts.index(host) if host in everything.hosts else NOBODY
        capture = everything.captures[number] if number >= 0 else None
        if capture is None:
            return
        positions: list[int] = []
        for i in self.numbers:
            if everything.source[i] == number:
                positions.append(everything.sent[i])
            elif everything.target[i] == number:
                if everything.fate[i] != CORRUPTED:  # the stack drops packets with a wrong checksum
                    positions.append(everything.received[i])
                positions.extend(everything.copies.get(i, ()))
        tell = self._teller(capture)
        positions.sort()
        for position in positions:
            from_client = tell(position) if position >= 0 else None
            if from_client is not None:
                yield capture, position, from_client

    def stream(self, source: str, at: str) -> ByteStream:
        """The bytes that host `source` sent, as the capture of host `at` holds them."""
        if (source, at) not in self._streams:
            self._streams[source, at] = self._stream(source, at)
        return self._streams[source, at]

    def head(self, source: str, at: str, limit: int) -> bytes:
        """The first `limit` bytes of `stream`."""
        found = self._items(source, at)
        return b"" if found is None else stream_head(*found, limit)

    def _stream(self, source: str, at: str) -> ByteStream:
        found = self._items(source, at)
        return ByteStream(at, 0, EMPTY_SHA256, True) if found is None else reassemble(*found)

    def _items(self, source: str, at: str) -> tuple[Capture, list[int], int] | None:
        """The capture of host `at`, the packets in it that `source` sent, and their first sequence number."""
        wanted = self._is_client(source)
        isn = self._isn[0 if wanted else 1]
        items = [(c, p) for c, p, from_client in self._at(at) if from_client == wanted]
        if not items or isn is None:
            return None
        return items[0][0], [position for _, position in items], isn

    def rtt(self, host: str) -> list[Point]:
        """Round-trip samples at `host` in ns, each when its ACK came: from a segment with sequence numbers
        that was sent once (Karn) to the first ACK that covers it."""
        own_side = self._is_client(host)
        points: list[Point] = []
        waiting: deque[tuple[int, int]] = deque()  # end of the segment, time of sending
        highest: int | None = None
        for capture, position, from_client in self._at(host):
            flags, t_ns = capture.flags[position], capture.t_ns[position]
            if from_client == own_side:
                used = capture.payload_len[position] + (1 if flags & (SYN | FIN) else 0)
                if not used:
                    continue
                seq = capture.seq[position]
                end = seq + used & _ALL
                if highest is not None and (seq - highest & _ALL) >= _HALF:
                    # retransmitted: an ACK of this or anything after it is ambiguous
                    waiting = deque(item for item in waiting if (item[0] - seq - 1 & _ALL) >= _HALF)
                    continue
                highest = end
                waiting.append((end, t_ns))
            elif flags & ACK:
                sent_ns = -1
                while waiting and (capture.ack[position] - waiting[0][0] & _ALL) < _HALF:
                    sent_ns = waiting.popleft()[1]
                if sent_ns >= 0:
                    points.append(Point(t_ns, t_ns - sent_ns))
        return points

    def throughput(self, source: str, bucket_ns: int) -> list[Point]:
        """New bytes of `source` that reached the other end, in bit/s, for each bucket from the flow's start
        on, at the bucket's start. If the other end has no capture: bytes that left the source."""
        from_source = self._is_client(source)
        other = self.server.host if from_source else self.client.host
        items = list(self._at(other)) or list(self._at(source))
        counts: dict[int, int] = {}
        highest: int | None = None
        for capture, position, from_client in items:
            length = capture.payload_len[position]
            if from_client != from_source or not length:
                continue
            end = capture.seq[position] + length & _ALL
            new = length if highest is None else min(length, (end - highest + _HALF & _ALL) - _HALF)
            if new > 0 or self.protocol != "tcp":
                highest = end
                bucket = (capture.t_ns[position] - self.start_ns) // bucket_ns
                counts[bucket] = counts.get(bucket, 0) + (new if self.protocol == "tcp" else length)
        last = max(counts, default=-1)
        return [
            Point(self.start_ns + bucket * bucket_ns, counts.get(bucket, 0) * 8 * _NS / bucket_ns)
            for bucket in range(last + 1)
        ]
