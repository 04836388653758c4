"""Whether a packet of a capture fits a scenario's `match`."""

from __future__ import annotations

from collections.abc import Callable

from lab.evidence.flags import flag_bits, flags_match
from lab.evidence.options import has_kind
from lab.evidence.packets import Capture
from lab.evidence.protocols import ICMP, ICMPV6, TCP, protocol_name
from lab.packet_words import ICMP_WORDS, TCP_OPTIONS, HeaderMatch, PacketMatch

Fits = Callable[[Capture, int], bool]  #: takes a capture and a position in it


def fits(match: PacketMatch) -> Fits:
    """The test of one match, for many packets."""
    if isinstance(match, HeaderMatch):
        return _header(match)
    if isinstance(match, str) and match in ICMP_WORDS:
        return _icmp(match)
    return _flags(match)


def _flags(match: str | tuple[str, ...]) -> Fits:
    tables: dict[int, tuple[list[bool], list[bool]]] = {}

    def test(capture: Capture, position: int) -> bool:
        protocol = capture.protocol[position]
        table = tables.get(protocol)
        if table is None:  # 512 answers for each protocol: by flags, without and with payload
            name = protocol_name(protocol)
            table = tables[protocol] = (
                [flags_match(name, flags, 0, match) for flags in range(256)],
                [flags_match(name, flags, 1, match) for flags in range(256)],
            )
        return table[capture.payload_len[position] > 0][capture.flags[position]]

    return test


def _icmp(word: str) -> Fits:
    wanted = ICMP_WORDS[word]

    def test(capture: Capture, position: int) -> bool:
        protocol = capture.protocol[position]
        if protocol not in (ICMP, ICMPV6):
            return False
        if wanted is None:
            return True
        if capture.fragments.get(position, (0, False))[0]:
            return False
        kind, code = capture.icmp(position)
        return any(kind == k and c in (None, code) for k, c in wanted[protocol == ICMPV6])

    return test


def _header(match: HeaderMatch) -> Fits:
    flags = None if match.flags is None else flag_bits(match.flags)
    kinds = () if match.option is None else TCP_OPTIONS[match.option]

    def test(capture: Capture, position: int) -> bool:
        if match.of_tcp and (
            capture.protocol[position] != TCP or capture.fragments.get(position, (0, False))[0]
        ):
            return False  # only the first piece of a fragmented packet has the header of TCP
        return (
            (flags is None or capture.flags[position] == flags)
            and (match.window is None or match.window.holds(capture.window[position]))
            and (match.ttl is None or match.ttl.holds(capture.ttl(position)))
            and (match.tos is None or match.tos.holds(capture.tos(position)))
            and (match.length is None or match.length.holds(capture.ip_length(position)))
            and (not kinds or has_kind(capture.option_bytes(position), kinds))
        )

    return test
