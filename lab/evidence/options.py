"""TCP header options, parsed on demand."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

from msgspec import Struct


class TcpOptions(Struct, frozen=True):
    """The options of a TCP header that the lab knows; None if the header does not have it."""

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()  #: left and right edge of each block, raw sequence numbers
    ts_value: int | None = None
    ts_echo: int | None = None
    broken: bool = False  #: a length that does not fit: the rest was not read

    @classmethod
    def parse(cls, raw: bytes) -> TcpOptions:
        """Parse the bytes between the fixed header and the payload. Never raises."""
        if raw[:4] == b"\x01\x01\x08\x0a" and len(raw) == 12:  # nearly every segment has these
            value, echo = struct.unpack_from(">II", raw, 4)
            return cls(ts_value=value, ts_echo=echo)
        mss = scale = value = echo = None
        permitted = broken = False
        blocks: list[tuple[int, int]] = []
        for kind, body in _walk(raw):
            if body is None:
                broken = True
            elif kind == 2 and len(body) == 2:
                mss = int.from_bytes(body, "big")
            elif kind == 3 and len(body) == 1:
                scale = body[0]
            elif kind == 4 and not body:
                permitted = True
            elif kind == 5 and len(body) % 8 == 0:
                edges = struct.unpack(f">{len(body) // 4}I", body)
                blocks.extend(zip(edges[::2], edges[1::2], strict=True))
            elif kind == 8 and len(body) == 8:
                value, echo = struct.unpack(">II", body)
        return cls(mss, scale, permitted, tuple(blocks), value, echo, broken)


def _walk(raw: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Kind and body of each option but padding; where the length does not fit, no body, and the end."""
    at, end = 0, len(raw)
    while at < end and raw[at] != 0:
        if raw[at] == 1:
            at += 1
            continue
        if at + 1 >= end or raw[at + 1] < 2 or at + raw[at + 1] > end:
            yield raw[at], None
            return
        yield raw[at], raw[at + 2 : at + raw[at + 1]]
        at += raw[at + 1]


def has_kind(raw: bytes, kinds: Collection[int]) -> bool:
    """Whether the bytes between the fixed header and the payload hold an option of one of these kinds."""
    return any(kind in kinds for kind, _ in _walk(raw))
