"""The words for a packet: what a `match` may be, and the names and bits of TCP's flags.

One list for the scenario that asks, the wire that drops and the evidence that is judged.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

#: The words of a `match` that speak of ICMP, with the types and codes that each means in IPv4 and in IPv6
#: (RFC 792, RFC 4443); a code of None is any, and None for all is every ICMP packet.
ICMP_WORDS: Mapping[str, tuple[tuple[tuple[int, int | None], ...], tuple[tuple[int, int | None], ...]] | None]
ICMP_WORDS = {
    "icmp": None,
    "echo": (((0, None), (8, None)), ((128, None), (129, None))),
    "unreachable": (((3, None),), ((1, None),)),
    "frag-needed": (((3, 4),), ((2, None),)),
    "ttl-exceeded": (((11, 0),), ((3, 0),)),
}

#: The words of a `match`; a list of flags and a mapping of header fields are the other forms.
MATCHES = ("syn", "syn-ack", "fin", "rst", "data", "ack", "any", *ICMP_WORDS)

#: By name as a scenario has it, in the order of the header's bits from the lowest.
FLAGS: Mapping[str, int] = {
    name: 1 << bit for bit, name in enumerate(("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"))
}

#: TCP options by the name that a `match` has for them, with the kinds in the header that it means.
TCP_OPTIONS: Mapping[str, tuple[int, ...]] = {
    "mss": (2,),
    "sack": (4, 5),  # permitted, in a SYN; the blocks, elsewhere
    "timestamps": (8,),
    "window_scale": (3,),
    "fastopen": (34,),
}


class Bounds(Struct, frozen=True):
    """From `min` to `max`, ends included; None is no limit."""

    min: int | None = None
    max: int | None = None

    def holds(self, value: int) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        if self.min is None or self.max is None:
            return f"at most {self.max}" if self.min is None else f"at least {self.min}"
        return str(self.min) if self.min == self.max else f"{self.min} to {self.max}"


class HeaderMatch(Struct, frozen=True):
    """Fields of a packet's headers, of which all must hold; what is None is not looked at."""

    flags: tuple[str, ...] | None = None  #: exactly these flags of TCP
    option: str | None = None  #: a key of TCP_OPTIONS that must be there
    ttl: Bounds | None = None  #: as the packet is where one looks: at the receiver one less than sent
    window: Bounds | None = None  #: the raw field of TCP
    tos: Bounds | None = None  #: the whole byte, DSCP and ECN
    length: Bounds | None = None  #: bytes of the IP packet with its header

    @property
    def of_tcp(self) -> bool:
        """Whether only TCP has what is looked at."""
        return self.flags is not None or self.option is not None or self.window is not None

    def __str__(self) -> str:
        parts = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                shown = f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)
                parts.append(f"{name} {shown}")
        return ", ".join(parts)


#: A match as the records have it: a word, exactly these flags of TCP, or fields of the headers.
PacketMatch = str | tuple[str, ...] | HeaderMatch


def match_text(match: PacketMatch | None) -> str:
    """For people: `syn`, `[syn, ack]`, `flags [syn], ttl 1`."""
    if match is None:
        return "any"
    return f"[{', '.join(match)}]" if isinstance(match, tuple) else str(match)
