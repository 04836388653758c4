"""The kind of each TCP segment of a capture: new, retransmitted, out of order, a probe, a duplicate ACK.

There are two answers. `wireshark` follows the conditions of the Wireshark User's Guide ("TCP Analysis"), so
its counts compare with tshark's for any capture. `truth` is about the packets that the capturing host sent
itself: a segment below its own highest sequence number is a retransmission, never out of order, and an ACK
that asks again for missing bytes is a duplicate, whatever its window.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import get_args

from lab.evidence.options import TcpOptions
from lab.evidence.packets import ACK, FIN, RST, SYN, TCP, Capture
from lab.evidence.types import Mark

MARKS: tuple[Mark, ...] = get_args(Mark)
(
    NONE,
    RETRANSMISSION,
    FAST_RETRANSMISSION,
    SPURIOUS_RETRANSMISSION,
    OUT_OF_ORDER,
    KEEP_ALIVE,
    KEEP_ALIVE_ACK,
    ZERO_WINDOW_PROBE,
    ZERO_WINDOW_PROBE_ACK,
    DUPLICATE_ACK,
    WINDOW_UPDATE,
    ZERO_WINDOW,
) = range(len(MARKS))
RESENT = (RETRANSMISSION, FAST_RETRANSMISSION, SPURIOUS_RETRANSMISSION)
_FAST_NS = 20_000_000  #: a fast retransmission follows the last ACK within this
_OUT_OF_ORDER_NS = 3_000_000  #: out of order within this, where the handshake gives no round-trip time
_HALF, _ALL = 1 << 31, (1 << 32) - 1
_NO_DATA = SYN | FIN | RST
_NEUTRALISED = _ALL
"""Wireshark sets its count of duplicate ACKs to -1 if the other side acknowledged bytes that were never seen;
the count is unsigned, so it stays at the maximum until an ACK resets it."""


@dataclass
class Marks:
    """One entry for each packet of the capture."""

    wireshark: bytearray  #: index into MARKS
    truth: bytearray  #: the same, correct for packets that the capturing host sent
    resends: dict[int, int] = field(default_factory=dict)
    """Position of a packet that repeats bytes → position of the packet that sent them first."""


class _Direction:
    """What is known of one sender of a connection."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset to the state of a sender that has sent nothing."""
        self.base = 0  #: first sequence number
        self.next: int | None = None  #: highest end of a segment, counted on from `base` without wrapping
        self.next_ns = 0
        self.contiguous = 0  #: end of the bytes seen without a hole, counted like `next`
        self.ack = 0  #: of the last segment
        self.ack_ns = 0  #: time of the last segment
        self.window = -1
        self.duplicates = 0
        self.last = NONE  #: mark of the last segment
        self.syns: set[int] = set()  #: which of SYN and SYN | ACK it has sent
        self.starts: array[int] = array("q")  #: where each segment with new bytes began …
        self.positions: array[int] = array("i")  #: … and which packet it was

    def lacks(self, ack: int) -> bool:
        """Whether bytes beyond `ack` came from this sender, with a hole at `ack`."""
        if self.next is None or self.contiguous >= self.next:
            return False
        return ack == (self.base + self.contiguous) & _ALL


def _sacks_beyond(options: bytes, ack: int) -> bool:
    """Whether a SACK block covers bytes beyond `ack`; those of a D-SACK (RFC 2883) are below it."""
    return any(0 < (right - ack) & _ALL <= _HALF for _, right in TcpOptions.parse(options).sack)


class _Connection:
    def __init__(self) -> None:
        self.syn_ns = 0  #: of the last SYN
        self.rtt_ns = 0  #: from the last SYN to the first ACK after it


def mark(capture: Capture) -> Marks:
    """Mark every TCP segment of a capture."""
    count = len(capture)
    marks = Marks(bytearray(count), bytearray(count))
    states: dict[tuple[int, int, int, int], tuple[_Direction, _Direction, _Connection]] = {}
    wireshark, truth, resends = marks.wireshark, marks.truth, marks.resends
    for i, (protocol, source, target, sport, dport, seq, ack, flags, window, length, t_ns) in enumerate(
        zip(
            capture.protocol,
            capture.source,
            capture.target,
            capture.sport,
            capture.dport,
            capture.seq,
            capture.ack,
            capture.flags,
            capture.window,
            capture.payload_len,
            capture.t_ns,
            strict=True,
        )
    ):
        if protocol != TCP:
            continue
        state = states.get((source, target, sport, dport))
        if state is None or (
            flags & (SYN | ACK) == SYN and state[0].next is not None and state[0].base != seq
        ):
            forward, reverse, connection = _Direction(), _Direction(), _Connection()
            states[source, target, sport, dport] = forward, reverse, connection
            states[target, source, dport, sport] = reverse, forward, connection
        else:
            forward, reverse, connection = state

        if (
            flags & (SYN | ACK) == SYN | ACK
            and forward.next is not None
            and not forward.syns
            and seq != forward.base
        ):
            forward.forget()  # what it sent before belonged to an earlier connection of these ports
        known = forward.next
        if known is None:
            forward.base = seq
            start = 0
        else:  # the value of `seq`, unwrapped, that is nearest to the highest known
            start = known + ((seq - forward.base - known + _HALF) & _ALL) - _HALF
        if flags & SYN:
            if not flags & ACK:
                connection.syn_ns = t_ns
        elif flags & ACK and not connection.rtt_ns and connection.syn_ns:
            connection.rtt_ns = t_ns - connection.syn_ns

        found = NONE
        real = NONE
        if length == 1 and start == known and reverse.window == 0:
            found = real = ZERO_WINDOW_PROBE
        else:
            if not flags & _NO_DATA:
                if not window:
                    found = ZERO_WINDOW
                if known is not None:
                    if length <= 1 and start == known - 1:
                        found = KEEP_ALIVE
                    elif not length and start == known and ack == forward.ack:
                        if window == forward.window:
                            if not window:
                                if reverse.last == ZERO_WINDOW_PROBE:
                                    found = ZERO_WINDOW_PROBE_ACK
                            elif reverse.last == KEEP_ALIVE:
                                found = KEEP_ALIVE_ACK
                            else:
                                found = DUPLICATE_ACK
                                forward.duplicates = (forward.duplicates + 1) & _ALL or 1
                        elif window:
                            found = WINDOW_UPDATE
            real = found
            if found == WINDOW_UPDATE and (reverse.lacks(ack) or _sacks_beyond(capture.option_bytes(i), ack)):
                # The receive buffer grows with each segment that arrives, so the first duplicate ACKs carry
                # new windows. RFC 6675, and so a sender, goes by their SACK of the gap.
                real = DUPLICATE_ACK
        if ack != forward.ack:
            forward.duplicates = 0
        if (
            flags & ACK
            and reverse.next is not None
            and 0 < (ack - reverse.base - reverse.contiguous) & _ALL <= _HALF
        ):
            if reverse.contiguous < reverse.next:
                reverse.contiguous = reverse.next
            else:
                reverse.duplicates = _NEUTRALISED
        if (length or flags & (SYN | FIN)) and found != ZERO_WINDOW_PROBE:
            advanced = known is None or start >= known
            old = length > 0 and reverse.ack != 0 and (reverse.ack - seq - length) & _ALL <= _HALF
            if not advanced or old:
                first = bisect_right(forward.starts, start) - 1
                if found == KEEP_ALIVE:
                    if reverse.window == 0:
                        real = ZERO_WINDOW_PROBE
                    elif length and not old:
                        real = RETRANSMISSION  # one byte sent again looks like a keep-alive
                elif old:
                    found = real = SPURIOUS_RETRANSMISSION
                elif length > 1 and known is not None and start == known - 1:
                    real = RETRANSMISSION  # Wireshark takes the byte before for a window probe
                elif reverse.duplicates >= 2 and reverse.ack == seq and t_ns - reverse.ack_ns < _FAST_NS:
                    found = real = FAST_RETRANSMISSION
                else:
                    end = start + length + (1 if flags & (SYN | FIN) else 0)
                    near = t_ns - forward.next_ns < (connection.rtt_ns or _OUT_OF_ORDER_NS)
                    found = OUT_OF_ORDER if near and end != known else RETRANSMISSION
                    real = RETRANSMISSION
                if flags & SYN and flags & (SYN | ACK) not in forward.syns:
                    real = NONE  # both sides opened: the first answer has the number of the first SYN
                if real in RESENT and first >= 0:
                    resends[i] = forward.positions[first]
        elif found == KEEP_ALIVE and reverse.window == 0:
            real = ZERO_WINDOW_PROBE
        if found:
            wireshark[i] = found
            truth[i] = real
        if flags & SYN:
            forward.syns.add(flags & (SYN | ACK))

        if found != ZERO_WINDOW_PROBE:
            after = start + length + (1 if flags & (SYN | FIN) else 0)
            if known is None or 0 < after - known <= _HALF:
                forward.next = after
                forward.next_ns = t_ns
                if length or flags & (SYN | FIN):
                    forward.starts.append(start)
                    forward.positions.append(i)
                if known is None or start == forward.contiguous:
                    forward.contiguous = after
            elif start == forward.contiguous:
                forward.contiguous = known
        forward.window = window
        forward.ack = ack
        forward.ack_ns = t_ns
        forward.last = found
    return marks
