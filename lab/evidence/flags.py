"""TCP flags: bits, names, and the words of a scenario's `match`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.packet_words import FLAGS

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = FLAGS.values()


def flag_names(flags: int) -> tuple[str, ...]:
    """("SYN", "ACK") …, in the order of the header's bits from the lowest."""
    return tuple(name.upper() for name, bit in FLAGS.items() if flags & bit)


def flag_bits(names: Iterable[str]) -> int:
    """The inverse of `flag_names`; in any case, also `syn-ack` as one word."""
    bits = 0
    for word in names:
        for name in word.lower().split("-"):
            bits |= FLAGS[name]
    return bits


def flags_match(protocol: str, flags: int, payload_len: int, match: str | Sequence[str]) -> bool:
    """Whether a packet with these fields is one of those that `match` names."""
    if match == "any":
        return True
    if match == "data":
        return payload_len > 0 and protocol in ("tcp", "udp")
    if protocol != "tcp":
        return False
    if not isinstance(match, str):
        return flags == flag_bits(match)
    if match == "syn":
        return flags & (SYN | ACK) == SYN
    if match == "syn-ack":
        return flags & (SYN | ACK) == SYN | ACK
    if match == "fin":
        return bool(flags & FIN)
    if match == "rst":
        return bool(flags & RST)
    if match == "ack":
        return flags == ACK and payload_len == 0
    raise ValueError(f"match {match!r} is not a word for flags: see lab.evidence.fits for the others")
