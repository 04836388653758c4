"""TCP header options, parsed only for those who ask."""

from __future__ import annotations

import struct
from collections.abc import Collection

from msgspec import Struct


class TcpOptions(Struct, frozen=True):
    """The options of a TCP header that the lab knows; None where a header has none of that kind."""

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()  #: left and right edge of each block, raw sequence numbers
    ts_value: int | None = None
    ts_echo: int | None = None
    broken: bool = False  #: a length that does not fit: the rest was not read

    @classmethod
    def parse(cls, raw: bytes) -> TcpOptions:
        """From the bytes between the fixed header and the payload. Never raises."""
        if raw[:4] == b"\x01\x01\x08\x0a" and len(raw) == 12:  # what nearly every segment carries
            value, echo = struct.unpack_from(">II", raw, 4)
            return cls(ts_value=value, ts_echo=echo)
        mss = scale = value = echo = None
        permitted = broken = False
        blocks: list[tuple[int, int]] = []
        at, end = 0, len(raw)
        while at < end:
            kind = raw[at]
            if kind == 0:
                break
            if kind == 1:
                at += 1
                continue
            if at + 1 >= end or raw[at + 1] < 2 or at + raw[at + 1] > end:
                broken = True
                break
            body = raw[at + 2 : at + raw[at + 1]]
            if kind == 2 and len(body) == 2:
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
            at += raw[at + 1]
        return cls(mss, scale, permitted, tuple(blocks), value, echo, broken)


def has_kind(raw: bytes, kinds: Collection[int]) -> bool:
    """Whether an option of one of these kinds stands between the fixed header and the payload."""
    at, end = 0, len(raw)
    while at < end:
        kind = raw[at]
        if kind in kinds:
            return True
        if kind == 0:
            return False
        if kind == 1:
            at += 1
        elif at + 1 >= end or raw[at + 1] < 2:
            return False
        else:
            at += raw[at + 1]
    return False
