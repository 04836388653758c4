"""Waits until frames get to the wire and back: a new bridge port does not forward at once.

The kernel tells bridges of a new carrier at most once a second when many come and go, so the first packet of
a scenario could be lost. The requests are ARP, since the wire impairs only IP, and probes without a sender's
address (RFC 5227), so that no neighbour learns from them. The capture leaves these frames out.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable

from .loop import Loop, Timer

ETH_P_ARP = 0x0806
PERIOD = 0.005  #: seconds between two requests
#: For tcpdump: everything except these requests and their answers.
NOT_THESE = "not (arp and (arp[14:4] = 0 or arp[24:4] = 0))"


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


class Reach:
    """Asks until the wire answers or the time is over."""

    def __init__(self, loop: Loop, interface: str, mac: str, wire_mac: str, wire_address: str) -> None:
        self._loop = loop
        self._wire = socket.inet_aton(wire_address)
        own = _mac(mac)
        self._question = struct.pack(
            ">6s6sHHHBBH6s4s6s4s",
            *(_mac(wire_mac), own, ETH_P_ARP, 1, 0x0800, 6, 4, 1),
            *(own, bytes(4), bytes(6), self._wire),
        )
        # No protocol until it is bound: a change from all interfaces to one takes the kernel 2 to 15 ms.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((interface, ETH_P_ARP))
        self._socket.setblocking(False)
        self._timer: Timer | None = None
        self._asked = 0

    def start(self, timeout_ns: int, reached: Callable[[int], None], failed: Callable[[], None]) -> None:
        """Start asking. `reached` gets the number of requests."""
        self._until_ns = time.monotonic_ns() + timeout_ns
        self._reached, self._failed = reached, failed
        self._loop.read(self._socket.fileno(), self._hear)
        self._ask()

    def _ask(self) -> None:
        if time.monotonic_ns() >= self._until_ns:
            self._end()
            self._failed()
            return
        self._asked += 1
        try:
            self._socket.send(self._question)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # dropped on its way out: the next one may get through
                raise
        self._timer = self._loop.after(PERIOD, self._ask)

    def _hear(self) -> None:
        frame = self._socket.recv(2048)
        if len(frame) >= 42 and frame[20:22] == b"\x00\x02" and frame[28:32] == self._wire:
            self._end()
            self._reached(self._asked)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.read(self._socket.fileno(), None)
        # Open until the agent ends: closing takes the kernel 15 ms, during which the agent would not answer.
        self._socket.detach()
