"""Every socket option of Linux by its name: level, number, what its value is, and the bytes of that value.

The only table of options: `lab check` judges names and values by it, the lab encodes and decodes with it what
an agent passes to the kernel, and the reference page is made from it. The numbers are from the kernel's
headers (asm-generic/socket.h, linux/in.h, linux/in6.h, linux/tcp.h, linux/udp.h); Python's socket module has
only some.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

#: The kinds of value. `seconds` and the like count time, so a duration fits too.
Kind = Literal[
    "int",
    "bool",
    "seconds",
    "milliseconds",
    "microseconds",
    "timeval",
    "linger",
    "text",
    "address",
    "membership",
    "u64",
    "errno",
    "tcp_info",
    "bytes",
]
Access = Literal["both", "get", "set"]

LEVELS: Mapping[str, int] = {"SO": 1, "IP": 0, "IPV6": 41, "TCP": 6, "UDP": 17}
_TEXT = 16  #: bytes of a text that the kernel gives
_BYTES = 256  #: bytes to request where the size is unknown

#: Where the kernel wants no more than what it has to give: an address, a struct sockaddr_in.
_SIZES = {"SO_PEERNAME": 16}

_UNITS = {"seconds": 1_000_000_000, "milliseconds": 1_000_000, "microseconds": 1_000}
TIMES = ("timeval", *_UNITS)  #: kinds that take a duration


class Option(Struct, frozen=True):
    """One option. `needs` names briefly what it needs and a host of the lab lacks; "" if nothing."""

    name: str
    number: int
    kind: Kind = "int"
    access: Access = "both"
    needs: str = ""

    @property
    def level(self) -> int:
        return LEVELS[self.name.partition("_")[0]]

    @property
    def size(self) -> int:
        """How many bytes to ask the kernel for."""
        sizes = {"timeval": 16, "linger": 8, "text": _TEXT, "u64": 8, "tcp_info": _BYTES, "bytes": _BYTES}
        return _SIZES.get(self.name) or sizes.get(self.kind, 4)


#: name, number, and where they differ from int, both, "": kind, access, needs.
_TABLE = """
SO_DEBUG 1 bool both NET_ADMIN
SO_REUSEADDR 2 bool
SO_TYPE 3 int get
SO_ERROR 4 errno get
SO_DONTROUTE 5 bool
SO_BROADCAST 6 bool
SO_SNDBUF 7
SO_RCVBUF 8
SO_KEEPALIVE 9 bool
SO_OOBINLINE 10 bool
SO_NO_CHECK 11 bool
SO_PRIORITY 12
SO_LINGER 13 linger
SO_REUSEPORT 15 bool
SO_PASSCRED 16 bool both a-Unix-socket
SO_PEERCRED 17 bytes get
SO_RCVLOWAT 18
SO_SNDLOWAT 19 int get
SO_RCVTIMEO 20 timeval
SO_SNDTIMEO 21 timeval
SO_BINDTODEVICE 25 text
SO_ATTACH_FILTER 26 bytes set a-program-in-memory
SO_DETACH_FILTER 27 int set a-filter
SO_PEERNAME 28 bytes get a-connection
SO_TIMESTAMP 29 bool
SO_ACCEPTCONN 30 bool get
SO_PEERSEC 31 bytes get a-security-module
SO_SNDBUFFORCE 32 int set NET_ADMIN
SO_RCVBUFFORCE 33 int set NET_ADMIN
SO_PASSSEC 34 bool both a-Unix-socket
SO_TIMESTAMPNS 35 bool
SO_MARK 36 int both NET_ADMIN
SO_TIMESTAMPING 37
SO_PROTOCOL 38 int get
SO_DOMAIN 39 int get
SO_RXQ_OVFL 40 bool
SO_WIFI_STATUS 41 bool
SO_PEEK_OFF 42 int both a-datagram-socket
SO_LOCK_FILTER 44 bool
SO_SELECT_ERR_QUEUE 45 bool
SO_BUSY_POLL 46 microseconds both NET_ADMIN-on-an-older-kernel
SO_MAX_PACING_RATE 47
SO_BPF_EXTENSIONS 48 int get
SO_INCOMING_CPU 49
SO_ATTACH_BPF 50 int set a-program-in-memory
SO_ATTACH_REUSEPORT_CBPF 51 bytes set a-program-in-memory
SO_ATTACH_REUSEPORT_EBPF 52 int set a-program-in-memory
SO_CNX_ADVICE 53 int set
SO_MEMINFO 55 bytes get
SO_INCOMING_NAPI_ID 56 int get
SO_COOKIE 57 u64 get
SO_ZEROCOPY 60 bool
SO_TXTIME 61 bytes both NET_ADMIN
SO_BINDTOIFINDEX 62
SO_DETACH_REUSEPORT_BPF 68 int set a-filter
SO_PREFER_BUSY_POLL 69 bool both NET_ADMIN
SO_BUSY_POLL_BUDGET 70 int both NET_ADMIN
SO_NETNS_COOKIE 71 u64 get
SO_BUF_LOCK 72
SO_RESERVE_MEM 73 int both a-memory-cgroup-for-sockets
SO_TXREHASH 74
SO_RCVMARK 75 bool both NET_ADMIN-on-an-older-kernel
IP_TOS 1
IP_TTL 2
IP_HDRINCL 3 bool both a-raw-socket
IP_OPTIONS 4 bytes
IP_ROUTER_ALERT 5 bool both a-raw-socket
IP_RECVOPTS 6 bool
IP_RETOPTS 7 bool
IP_PKTINFO 8 bool
IP_PKTOPTIONS 9 bytes get
IP_MTU_DISCOVER 10
IP_RECVERR 11 bool
IP_RECVTTL 12 bool
IP_RECVTOS 13 bool
IP_MTU 14 int get a-connection
IP_FREEBIND 15 bool
IP_IPSEC_POLICY 16 bytes both NET_ADMIN
IP_XFRM_POLICY 17 bytes both NET_ADMIN
IP_PASSSEC 18 bool
IP_TRANSPARENT 19 bool both NET_ADMIN
IP_ORIGDSTADDR 20 bool
IP_MINTTL 21
IP_NODEFRAG 22 bool both a-raw-socket
IP_CHECKSUM 23 bool
IP_BIND_ADDRESS_NO_PORT 24 bool
IP_RECVFRAGSIZE 25 bool both a-datagram-socket
IP_RECVERR_RFC4884 26 bool
IP_MULTICAST_IF 32 address both a-datagram-socket
IP_MULTICAST_TTL 33 int both a-datagram-socket
IP_MULTICAST_LOOP 34 bool
IP_ADD_MEMBERSHIP 35 membership set a-route-for-multicast,-which-the-wire-does-not-carry
IP_DROP_MEMBERSHIP 36 membership set a-route-for-multicast,-which-the-wire-does-not-carry
IP_UNBLOCK_SOURCE 37 bytes set a-membership
IP_BLOCK_SOURCE 38 bytes set a-membership
IP_ADD_SOURCE_MEMBERSHIP 39 bytes set a-route-for-multicast,-which-the-wire-does-not-carry
IP_DROP_SOURCE_MEMBERSHIP 40 bytes set a-membership
IP_MSFILTER 41 bytes both a-membership
IP_MULTICAST_ALL 49 bool
IP_UNICAST_IF 50
IP_LOCAL_PORT_RANGE 51
IP_PROTOCOL 52 int get
IPV6_ADDRFORM 1 int both an-IPv6-socket
IPV6_UNICAST_HOPS 16 int both an-IPv6-socket
IPV6_MULTICAST_IF 17 int both an-IPv6-socket
IPV6_MULTICAST_HOPS 18 int both an-IPv6-socket
IPV6_MULTICAST_LOOP 19 bool both an-IPv6-socket
IPV6_JOIN_GROUP 20 bytes set an-IPv6-socket
IPV6_LEAVE_GROUP 21 bytes set an-IPv6-socket
IPV6_ROUTER_ALERT 22 int both an-IPv6-socket
IPV6_MTU_DISCOVER 23 int both an-IPv6-socket
IPV6_MTU 24 int both an-IPv6-socket
IPV6_RECVERR 25 bool both an-IPv6-socket
IPV6_V6ONLY 26 bool both an-IPv6-socket
IPV6_JOIN_ANYCAST 27 bytes set an-IPv6-socket
IPV6_LEAVE_ANYCAST 28 bytes set an-IPv6-socket
IPV6_MULTICAST_ALL 29 bool both an-IPv6-socket
IPV6_RECVERR_RFC4884 31 bool both an-IPv6-socket
IPV6_FLOWINFO_SEND 33 bool both an-IPv6-socket
IPV6_HDRINCL 36 bool both an-IPv6-socket
IPV6_RECVPKTINFO 49 bool both an-IPv6-socket
IPV6_PKTINFO 50 bytes both an-IPv6-socket
IPV6_RECVHOPLIMIT 51 bool both an-IPv6-socket
IPV6_HOPLIMIT 52 int both an-IPv6-socket
IPV6_RECVHOPOPTS 53 bool both an-IPv6-socket
IPV6_HOPOPTS 54 bytes both an-IPv6-socket
IPV6_RTHDRDSTOPTS 55 bytes both an-IPv6-socket
IPV6_RECVRTHDR 56 bool both an-IPv6-socket
IPV6_RTHDR 57 bytes both an-IPv6-socket
IPV6_RECVDSTOPTS 58 bool both an-IPv6-socket
IPV6_DSTOPTS 59 bytes both an-IPv6-socket
IPV6_RECVPATHMTU 60 bool both an-IPv6-socket
IPV6_PATHMTU 61 bytes get an-IPv6-socket
IPV6_DONTFRAG 62 bool both an-IPv6-socket
IPV6_USE_MIN_MTU 63 int both an-IPv6-socket
IPV6_RECVTCLASS 66 bool both an-IPv6-socket
IPV6_TCLASS 67 int both an-IPv6-socket
IPV6_AUTOFLOWLABEL 70 bool both an-IPv6-socket
IPV6_ADDR_PREFERENCES 72 int both an-IPv6-socket
IPV6_MINHOPCOUNT 73 int both an-IPv6-socket
IPV6_RECVORIGDSTADDR 74 bool both an-IPv6-socket
IPV6_TRANSPARENT 75 bool both an-IPv6-socket
IPV6_UNICAST_IF 76 int both an-IPv6-socket
IPV6_RECVFRAGSIZE 77 bool both an-IPv6-socket
IPV6_FREEBIND 78 bool both an-IPv6-socket
TCP_NODELAY 1 bool
TCP_MAXSEG 2
TCP_CORK 3 bool
TCP_KEEPIDLE 4 seconds
TCP_KEEPINTVL 5 seconds
TCP_KEEPCNT 6
TCP_SYNCNT 7
TCP_LINGER2 8 seconds
TCP_DEFER_ACCEPT 9 seconds
TCP_WINDOW_CLAMP 10
TCP_INFO 11 tcp_info get
TCP_QUICKACK 12 bool
TCP_CONGESTION 13 text
TCP_MD5SIG 14 bytes set a-key-for-an-address
TCP_THIN_LINEAR_TIMEOUTS 16 bool
TCP_THIN_DUPACK 17 bool
TCP_USER_TIMEOUT 18 milliseconds
TCP_REPAIR 19 int both NET_ADMIN
TCP_REPAIR_QUEUE 20 int both NET_ADMIN
TCP_QUEUE_SEQ 21 int both NET_ADMIN
TCP_REPAIR_OPTIONS 22 bytes set NET_ADMIN
TCP_FASTOPEN 23
TCP_TIMESTAMP 24 int get
TCP_NOTSENT_LOWAT 25
TCP_CC_INFO 26 bytes get
TCP_SAVE_SYN 27 bool
TCP_SAVED_SYN 28 bytes get
TCP_REPAIR_WINDOW 29 bytes both NET_ADMIN
TCP_FASTOPEN_CONNECT 30 bool
TCP_ULP 31 text both a-protocol-above-that-the-kernel-has
TCP_MD5SIG_EXT 32 bytes set a-key-for-an-address
TCP_FASTOPEN_KEY 33 bytes
TCP_FASTOPEN_NO_COOKIE 34 bool
TCP_ZEROCOPY_RECEIVE 35 bytes get a-mapping-in-memory
TCP_INQ 36 bool
TCP_TX_DELAY 37 microseconds
TCP_AO_ADD_KEY 38 bytes set a-key-for-an-address
TCP_AO_DEL_KEY 39 bytes set a-key-for-an-address
TCP_AO_INFO 40 bytes both a-key-for-an-address
TCP_AO_GET_KEYS 41 bytes get a-key-for-an-address
TCP_AO_REPAIR 42 bytes both NET_ADMIN
TCP_IS_MPTCP 43 bool get
TCP_RTO_MAX_MS 44 milliseconds
TCP_RTO_MIN_US 45 microseconds
TCP_DELACK_MAX_US 46 microseconds
UDP_CORK 1 bool
UDP_ENCAP 100
UDP_NO_CHECK6_TX 101 bool
UDP_NO_CHECK6_RX 102 bool
UDP_SEGMENT 103
UDP_GRO 104 bool
"""


def _rows() -> Iterator[Option]:
    for line in _TABLE.strip().splitlines():
        name, number, *more = line.split()
        kind, access, needs = [*more, *("int", "both", "")[len(more) :]]
        yield Option(name, int(number), kind, access, needs.replace("-", " "))  # type: ignore[arg-type]


OPTIONS: Mapping[str, Option] = {option.name: option for option in _rows()}

#: The fields of struct tcp_info (linux/tcp.h) from each offset on, by format, without `tcpi_`. Bit fields are
#: left out.
_TCP_INFO = (
    (0, "B", "state ca_state retransmits probes backoff options"),
    (8, "I", "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent"),
    (52, "I", "last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss"),
    (88, "I", "reordering rcv_rtt rcv_space total_retrans"),
    (104, "Q", "pacing_rate max_pacing_rate bytes_acked bytes_received"),
    (136, "I", "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"),
    (160, "Q", "delivery_rate busy_time rwnd_limited sndbuf_limited"),
    (192, "I", "delivered delivered_ce"),
    (200, "Q", "bytes_sent bytes_retrans"),
    (216, "I", "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"),
    (240, "H", "total_rto total_rto_recoveries"),
    (244, "I", "total_rto_time"),
)

#: The offset and format of each field; an older kernel gives fewer.
TCP_INFO: Mapping[str, tuple[int, str]] = {
    name: (begin + struct.calcsize("=" + form) * at, "=" + form)
    for begin, form, names in _TCP_INFO
    for at, name in enumerate(names.split())
}


def takes(option: Option) -> str:
    """What values the option takes, in words."""
    words = {
        "int": "a whole number",
        "bool": "true or false, or a number",
        **{unit: f"a whole number of {unit}, or a duration" for unit in _UNITS},
        "timeval": "a duration with its unit, like 1.5s",
        "linger": "{onoff: 0 or 1, seconds: n}",
        "text": "a text",
        "address": "an IPv4 address",
        "membership": "the IPv4 address of a group",
        "u64": "a whole number",
        "errno": "a number, or an error's name",
        "tcp_info": "a mapping of fields",
        "bytes": "{hex: …}",
    }
    return words[option.kind] + ("" if option.kind in ("bytes", "tcp_info", "errno") else ", or {hex: …}")


def encode(option: Option, value: Any, *, ns: int | None = None) -> bytes:
    """The bytes of a value as the kernel takes it. `ns` is the value if it was given as a duration.

    Raises `ValueError` with what the option takes.
    """
    wrong = ValueError(f"{option.name} takes {takes(option)}")
    if isinstance(value, Mapping) and set(value) == {"hex"}:
        return bytes.fromhex(value["hex"])
    if option.kind == "linger":
        if not isinstance(value, Mapping) or set(value) != {"onoff", "seconds"}:
            raise wrong
        return struct.pack("ii", int(value["onoff"]), int(value["seconds"]))
    if option.kind == "timeval":
        if ns is None:
            raise wrong
        return struct.pack("ll", ns // 1_000_000_000, ns % 1_000_000_000 // 1_000)
    if ns is not None:
        unit = _UNITS.get(option.kind)
        if unit is None or ns % unit:
            raise wrong
        value = ns // unit
    if isinstance(value, str):
        return _encode_text(option, value, wrong)
    if not isinstance(value, int) or option.kind in ("text", "address", "membership", "bytes", "tcp_info"):
        raise wrong
    if not -(2**31) <= value < 2**32:
        raise ValueError(f"{option.name}: {value} does not fit into 32 bits")
    return struct.pack("i" if value < 2**31 else "I", value)


def _encode_text(option: Option, value: str, wrong: ValueError) -> bytes:
    if option.kind == "text":
        return value.encode() + b"\0"
    if option.kind not in ("address", "membership"):
        raise wrong
    try:
        packed = ipaddress.IPv4Address(value).packed
    except ValueError:
        raise wrong from None
    return packed if option.kind == "address" else packed + bytes(4)


def decode(option: Option, raw: bytes) -> Any:
    """The kernel's bytes as a result: a number, a text, {onoff, seconds}, the fields of TCP_INFO, hex."""
    match option.kind:
        case "linger" if len(raw) >= 8:
            onoff, seconds = struct.unpack_from("ii", raw)
            return {"onoff": onoff, "seconds": seconds}
        case "timeval" if len(raw) >= 16:
            seconds, micros = struct.unpack_from("ll", raw)
            return seconds + micros / 1e6
        case "text":
            return raw.split(b"\0")[0].decode("utf-8", "replace")
        case "address" if len(raw) >= 4:
            return str(ipaddress.IPv4Address(raw[:4]))
        case "u64" if len(raw) >= 8:
            return struct.unpack_from("Q", raw)[0]
        case "tcp_info":
            return {
                name: struct.unpack_from(form, raw, at)[0]
                for name, (at, form) in TCP_INFO.items()
                if at + struct.calcsize(form) <= len(raw)
            }
        case "bytes" | "membership":
            return raw.hex()
        case _:
            return int.from_bytes(raw[:4], "little", signed=True) if raw else None


def nanoseconds(option: Option, result: object) -> int | None:
    """A result of `decode` in ns; None if the option does not count time."""
    if not isinstance(result, int | float):
        return None
    if option.kind == "timeval":
        return round(result * 1_000_000) * 1_000
    unit = _UNITS.get(option.kind)
    return None if unit is None else round(result * unit)


def error_number(name: str) -> int | None:
    """ECONNREFUSED → 111."""
    return next((number for number, known in errno.errorcode.items() if known == name), None)
