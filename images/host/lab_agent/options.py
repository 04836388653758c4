"""Socket options as bytes: the lab knows their names and values, the agent passes them on."""

from __future__ import annotations

import socket
import struct

from .sockets import Named

#: The longest wait of a blocking call without settimeout (asm-generic/socket.h).
RCVTIMEO, SNDTIMEO = 20, 21


def set_option(named: Named, level: int, number: int, raw: bytes) -> None:
    """Set an option. Raises OSError if the kernel refuses it."""
    named.sock.setsockopt(level, number, raw)
    if level == socket.SOL_SOCKET and number in (RCVTIMEO, SNDTIMEO) and len(raw) == 16:
        # The agent's descriptors do not block, so the kernel never applies these: the calls do.
        seconds, micros = struct.unpack("ll", raw)
        limit = seconds * 1_000_000_000 + micros * 1_000 or None
        if number == RCVTIMEO:
            named.receive_limit_ns = limit
        else:
            named.send_limit_ns = limit


def get_option(named: Named, level: int, number: int, size: int) -> bytes:
    return named.sock.getsockopt(level, number, size)
