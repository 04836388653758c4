"""All TCP and UDP sockets of this network namespace with their states, from NETLINK_SOCK_DIAG."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR = 2
NLMSG_DONE = 3

# include/net/tcp_states.h. 12 is a request socket, which the kernel reports as SYN_RECV.
STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN_RECV",
}
ALL_STATES = 0x1FFF

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBxxI48x")  # family, protocol; states; an empty socket id
# state, timer; source and destination port; addresses; interface; cookie; expires; queues; uid; inode
_SOCKET = struct.Struct("=BBBxHH16s16sI8sIIIII")
# net/ipv4/inet_diag.c; 2 is the socket's own timer: keepalive, and the end of FIN_WAIT2.
TIMERS = {0: "none", 1: "retransmit", 2: "keepalive", 3: "time_wait", 4: "persist"}


class Seen(NamedTuple):
    """One socket as the kernel reports it. `remote` is None without a peer."""

    kind: str
    local: tuple[str, int]
    remote: tuple[str, int] | None
    state: str
    recv_queue: int  #: for a listener: connections that wait for accept()
    send_queue: int
    cookie: bytes
    timer: str
    left_ms: int  #: ms until the timer expires; 0 without one


class SockDiag:
    """One netlink socket for the requests."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        self._socket.bind((0, 0))
        self._sequence = 0

    def dump(self, *, ipv6: bool = True) -> list[Seen]:
        """Every socket, including request sockets and TIME_WAIT. Without `ipv6`, only those of AF_INET."""
        found: list[Seen] = []
        for family in (socket.AF_INET, socket.AF_INET6) if ipv6 else (socket.AF_INET,):
            for kind, protocol in (("tcp", socket.IPPROTO_TCP), ("udp", socket.IPPROTO_UDP)):
                self._dump(family, kind, protocol, found)
        return found

    def _dump(self, family: int, kind: str, protocol: int, found: list[Seen]) -> None:
        self._sequence += 1
        request = _REQUEST.pack(family, protocol, ALL_STATES)
        size = _HEADER.size + len(request)
        header = _HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, self._sequence, 0)
        self._socket.send(header + request)
        while True:
            data = self._socket.recv(1 << 17)
            at = 0
            while at < len(data):
                size, what, _, sequence, _ = _HEADER.unpack_from(data, at)
                if sequence == self._sequence:
                    if what == NLMSG_DONE:
                        return
                    if what == NLMSG_ERROR:
                        code = -struct.unpack_from("=i", data, at + _HEADER.size)[0]
                        raise OSError(code, f"sock_diag refused to list the {kind} sockets")
                    found.append(_parse(kind, data, at + _HEADER.size))
                at += (size + 3) & ~3

    def close(self) -> None:
        self._socket.close()


def _parse(kind: str, data: bytes, at: int) -> Seen:
    family, state, timer, sport, dport, source, target, _, cookie, left_ms, rqueue, wqueue, _, _ = (
        _SOCKET.unpack_from(data, at)
    )
    remote_port = socket.ntohs(dport)
    name = STATES.get(state, str(state))
    if kind == "udp" and name == "CLOSE":
        name = "UNCONN"  # as ss says
    return Seen(
        kind,
        (_address(family, source), socket.ntohs(sport)),
        (_address(family, target), remote_port) if remote_port else None,
        name,
        rqueue,
        wqueue,
        cookie,
        TIMERS.get(timer, str(timer)),
        left_ms if timer else 0,
    )


def _address(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    return socket.inet_ntop(socket.AF_INET6, raw).removeprefix("::ffff:")
