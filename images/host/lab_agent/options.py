"""Socket options by the names of their constants, and the shapes of their values."""

from __future__ import annotations

import socket
import struct
from typing import Any

LEVELS = {
    "SO_": socket.SOL_SOCKET,
    "TCP_": socket.IPPROTO_TCP,
    "IP_": socket.IPPROTO_IP,
    "IPV6_": socket.IPPROTO_IPV6,
    "UDP_": socket.IPPROTO_UDP,
}

# Linux has these and Python 3.11's socket module does not (include/uapi/linux/{tcp,in,udp}.h,
# asm-generic/socket.h).
MORE = {
    "SO_RCVBUFFORCE": 33,
    "SO_SNDBUFFORCE": 32,
    "SO_RXQ_OVFL": 40,
    "SO_BUSY_POLL": 46,
    "SO_MAX_PACING_RATE": 47,
    "SO_ZEROCOPY": 60,
    "TCP_THIN_LINEAR_TIMEOUTS": 16,
    "TCP_FASTOPEN_CONNECT": 30,
    "TCP_INQ": 36,
    "TCP_RTO_MAX_MS": 44,
    "IP_MTU_DISCOVER": 10,
    "IP_RECVERR": 11,
    "IP_MTU": 14,
    "IP_FREEBIND": 15,
    "IP_BIND_ADDRESS_NO_PORT": 24,
    "UDP_CORK": 1,
    "UDP_SEGMENT": 103,
    "UDP_GRO": 104,
}
TEXT = {"TCP_CONGESTION": 16, "SO_BINDTODEVICE": 16, "TCP_ULP": 16}  #: bytes of the kernel's answer
TIMEVAL = ("SO_RCVTIMEO", "SO_SNDTIMEO")

# The fields of struct tcp_info that say something to a person, with their offsets (linux/tcp.h: 8 octets,
# then 32-bit words).
TCP_INFO = {
    "rto_us": 8,
    "snd_mss": 16,
    "rcv_mss": 20,
    "unacked": 24,
    "lost": 32,
    "retrans": 36,
    "rtt_us": 68,
    "rttvar_us": 72,
    "snd_ssthresh": 76,
    "snd_cwnd": 80,
    "total_retrans": 100,
}


class BadOption(Exception):
    """A name or a value that cannot be: where, what was got, what is allowed."""


def number(name: str) -> tuple[int, int]:
    """Level and number of an option."""
    for prefix, level in LEVELS.items():
        if name.startswith(prefix):
            value = MORE.get(name, getattr(socket, name, None))
            if isinstance(value, int):
                return level, int(value)
    raise BadOption(f"option {name!r} is not a socket option that this system knows: SO_…, TCP_…, IP_…")


def set_option(sock: socket.socket, name: str, value: Any) -> None:
    """Raises `BadOption` for what has no meaning and OSError for what the kernel refuses."""
    level, option = number(name)
    if name in TIMEVAL:
        raise BadOption(
            f"{name} has no effect on the agent's calls, which keep their own time: "
            "use settimeout, or the timeout of a call"
        )
    if name == "SO_LINGER":
        if not isinstance(value, dict) or set(value) != {"onoff", "seconds"}:
            raise BadOption(f"SO_LINGER takes {{onoff: 0 or 1, seconds: n}}, not {value!r}")
        sock.setsockopt(level, option, struct.pack("ii", int(value["onoff"]), int(value["seconds"])))
    elif isinstance(value, str):
        sock.setsockopt(level, option, value.encode())
    elif isinstance(value, dict) and set(value) == {"hex"}:
        sock.setsockopt(level, option, bytes.fromhex(value["hex"]))
    elif isinstance(value, int):
        sock.setsockopt(level, option, int(value))
    else:
        raise BadOption(f"{name} takes a whole number, a text or {{hex: …}}, not {value!r}")


def get_option(sock: socket.socket, name: str) -> Any:
    level, option = number(name)
    if name == "SO_LINGER":
        onoff, seconds = struct.unpack("ii", sock.getsockopt(level, option, 8))
        return {"onoff": onoff, "seconds": seconds}
    if name in TEXT:
        return sock.getsockopt(level, option, TEXT[name]).split(b"\0")[0].decode()
    if name in TIMEVAL:
        seconds, micros = struct.unpack("ll", sock.getsockopt(level, option, 16))
        return seconds + micros / 1e6
    if name == "TCP_INFO":
        raw = sock.getsockopt(level, option, 256)
        fields = {field: at for field, at in TCP_INFO.items() if at + 4 <= len(raw)}
        return {field: struct.unpack_from("=I", raw, at)[0] for field, at in fields.items()}
    return sock.getsockopt(level, option)
