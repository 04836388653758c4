"""TCP conversations made up at random: handshakes, data sent again and out of order, probes, flipped bits.

No stack would send most of them. They hold the lab's names for segments against another judge's where shipped
scenarios seldom or never come.
"""

from __future__ import annotations

import random
from pathlib import Path

from lab.evidence.flags import ACK, FIN, PSH, RST, SYN
from tests.unit.evidence_frames import MS, T0, ethernet, ipv4, pcap, tcp

_GAPS_MS = (0.05, 0.3, 1, 2.5, 4, 15, 25, 300)  # around every threshold there is
_ADDRESSES = ("10.0.0.1", "10.0.0.2")
_MODULUS = 1 << 32


class _Conversation:
    """One connection; side 0 is the client. Numbers may wrap, but not to 0: tshark takes that for unknown."""

    def __init__(self, chance: random.Random, port: int, t_ns: int, flips: bool) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.t_ns = t_ns
        self._chance = chance
        self._flips = flips
        self._ports = (port, 80)
        self._window = [500, 500]
        first = chance.randrange(_MODULUS) if chance.random() < 0.9 else _MODULUS - chance.randrange(2, 300)
        self._next = [first, chance.randrange(_MODULUS)]
        if chance.random() < 0.85:
            self._handshake()
        self._acked = [self._next[1], self._next[0]]
        self._sent: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for _ in range(chance.randrange(5, 60)):
            self._something()

    def _segment(self, side: int, seq: int, ack: int, flags: int, length: int = 0) -> None:
        segment = tcp(
            self._ports[side],
            self._ports[1 - side],
            seq % _MODULUS,
            ack % _MODULUS,
            flags,
            bytes(length),
            window=self._window[side],
        )
        frame = ethernet(ipv4(segment, _ADDRESSES[side], _ADDRESSES[1 - side]))
        self.frames.append((self.t_ns, frame))
        self.t_ns += round(self._chance.choice(_GAPS_MS) * MS)

    def _handshake(self) -> None:
        client, server = self._next
        self._next = [client + 1, server + 1]
        for side, seq, ack, flags in ((0, client, 0, SYN), (1, server, client + 1, SYN | ACK)):
            self._segment(side, seq, ack, flags)
            while self._chance.random() < 0.2:
                self._segment(side, seq, ack, flags)
        self._segment(0, client + 1, server + 1, ACK)

    def _something(self) -> None:
        chance = self._chance
        side = chance.randrange(2)
        if chance.random() < 0.5:
            self._acked[side] = self._next[1 - side]
        ack = self._acked[side]
        if self._flips and chance.random() < 0.04:
            ack ^= 1 << chance.randrange(32)
        if chance.random() < 0.1:
            self._window[side] = chance.choice((0, 1, 500, 600, 700))
        kinds = (self._new, self._again, self._empty, self._probe, self._repeated_ack, self._fin, self._odd)
        chance.choices(kinds, weights=(40, 15, 20, 10, 5, 3, 2))[0](side, ack)

    def _new(self, side: int, ack: int) -> None:
        """New data, sometimes behind a gap."""
        length = self._chance.choice((1, 2, 100, 1000))
        seq = self._next[side] + (self._chance.choice((1, 100, 1000)) if self._chance.random() < 0.15 else 0)
        self._segment(side, seq, ack, ACK | PSH, length)
        self._sent[side].append((seq, length))
        self._next[side] = seq + length

    def _again(self, side: int, ack: int) -> None:
        """One of the last four segments, or its first half."""
        if self._sent[side]:
            seq, length = self._chance.choice(self._sent[side][-4:])
            self._segment(side, seq, ack, ACK, max(1, length // self._chance.choice((1, 1, 1, 2))))

    def _empty(self, side: int, ack: int) -> None:
        self._segment(side, self._next[side], ack, ACK)

    def _probe(self, side: int, ack: int) -> None:
        """A keep-alive or a zero-window probe, with a byte or without."""
        back, length = self._chance.choice(((1, 0), (1, 1), (0, 1)))
        self._segment(side, self._next[side] - back, ack, ACK, length)

    def _repeated_ack(self, side: int, _: int) -> None:
        for _ in range(self._chance.randrange(1, 4)):
            self._segment(side, self._next[side], self._acked[side], ACK)

    def _fin(self, side: int, ack: int) -> None:
        length = self._chance.choice((0, 0, 100))
        for _ in range(self._chance.choice((1, 2, 2))):
            self._segment(side, self._next[side], ack, ACK | FIN, length)
        self._next[side] += length + 1

    def _odd(self, side: int, ack: int) -> None:
        """A reset, or a segment whose sequence number has a flipped bit."""
        if self._flips and self._chance.random() < 0.5:
            self._segment(side, self._next[side] ^ 1 << self._chance.randrange(32), ack, ACK, 100)
        else:
            self._segment(side, self._next[side], ack, RST | ACK)


def made_up_capture(path: Path, seed: int, *, flips: bool, count: int = 200) -> Path:
    """A pcap of `count` conversations one after the other; the same for the same seed."""
    chance = random.Random(seed)
    frames: list[tuple[int, bytes]] = []
    t_ns = T0
    for port in range(10_000, 10_000 + count):
        conversation = _Conversation(chance, port, t_ns, flips)
        frames += conversation.frames
        t_ns = conversation.t_ns
    return pcap(path, frames)
