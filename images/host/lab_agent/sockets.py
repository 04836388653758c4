"""The named sockets of one process: descriptors, time-outs, streams, and what close() really does."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Literal

from .ledger import SLOTS, Ledger, Stream

Kind = Literal["tcp", "udp"]
Address = tuple[str, int]

BLOCKING = None  #: a socket's time-out: wait forever
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class NameProblem(Exception):
    """A socket's name that is unknown or taken."""


class Named:
    """One named socket. The descriptor is always non-blocking; `timeout_ns` is what was set.

    Guarded by the lock of `Sockets`: `pending`, `closed`, `fd_open`.
    """

    def __init__(self, name: str, sock: socket.socket, kind: Kind) -> None:
        sock.setblocking(False)
        self.name = name
        self.sock = sock
        self.kind: Kind = kind
        self.fd = sock.fileno()
        self.timeout_ns: int | None = BLOCKING
        self.receive_limit_ns: int | None = None  #: SO_RCVTIMEO
        self.send_limit_ns: int | None = None  #: SO_SNDTIMEO
        self.stream: Stream | None = None
        self.local: Address | None = None  #: at the time of close()
        self.remote: Address | None = None  #: from the last success, in case the kernel has forgotten it
        self.pending: dict[int, str] = {}  #: calls in progress: request id → name of the call
        self.closed = False  #: the program has closed it
        self.fd_open = True
        self.owed: OSError | None = None  #: an error that the kernel would have kept for the next call
        self.sending = threading.Lock()
        self.receiving = threading.Lock()

    def local_address(self) -> Address | None:
        try:
            return short(self.sock.getsockname())
        except OSError:
            return None

    def remote_address(self) -> Address | None:
        try:
            return short(self.sock.getpeername())
        except OSError:
            return self.remote


def short(address: Any) -> Address | None:
    """Address and port from a kernel's address; None without a port. ::ffff:a.b.c.d becomes a.b.c.d."""
    if not isinstance(address, tuple) or not address[1]:
        return None
    return str(address[0]).removeprefix("::ffff:"), int(address[1])


class Sockets:
    """The table of names. `tell_stream` is called with slot, name and addresses when a stream begins."""

    def __init__(self, ledger: Ledger, tell_stream: Callable[[int, str, Address, Address], None]) -> None:
        self._ledger = ledger
        self._tell_stream = tell_stream
        self._lock = threading.Lock()
        self._table: dict[str, Named] = {}
        self._slots = 0

    def open(self, name: str, kind: Kind, family: str) -> Named:
        """socket(2), under a name that is free or whose socket was closed."""
        self.check_free(name)
        return self.put(Named(name, socket.socket(FAMILIES[family], TYPES[kind]), kind))

    def put(self, named: Named) -> Named:
        with self._lock:
            self._table[named.name] = named
        return named

    def check_free(self, name: str) -> None:
        there = self._table.get(name)
        if there is not None and not there.closed:
            raise NameProblem(f"the name {name!r} is taken by a socket that is still open: close it first")

    def has(self, name: str) -> bool:
        return name in self._table

    def get(self, name: str) -> Named:
        named = self._table.get(name)
        if named is None:
            there = ", ".join(sorted(self._table)) or "none"
            raise NameProblem(f"no socket {name!r} in this process; there are: {there}")
        return named

    def enter(self, named: Named, request: int, what: str) -> bool:
        """Note that a call begins to use the socket; False if it is closed."""
        with self._lock:
            if named.closed:
                return False
            named.pending[request] = what
            return True

    def leave(self, named: Named, request: int) -> None:
        """Note that a call is over. The last one in progress at close() releases the descriptor."""
        with self._lock:
            named.pending.pop(request, None)
            if named.closed and named.fd_open and not named.pending:
                named.fd_open = False
                os.close(named.sock.detach())

    def close(self, named: Named, request: int) -> list[str]:
        """close(2). Returns the other calls in progress; the descriptor stays open until they end."""
        with self._lock:
            others = [what for number, what in named.pending.items() if number != request]
            named.closed = True
            named.local, named.remote = named.local_address(), named.remote_address()
            named.pending.pop(request, None)
            if others:
                return others
            named.fd_open = False
        os.close(named.sock.detach())  # outside the lock: SO_LINGER may make it wait
        return []

    def stream(self, named: Named) -> Stream | None:
        """The running hashes of a connected TCP socket, begun now if necessary."""
        if named.stream is None and named.kind == "tcp":
            local, remote = named.local_address(), named.remote_address()
            if local is None or remote is None:
                return None
            with self._lock:
                if named.stream is None:
                    if self._slots >= SLOTS:
                        return None
                    named.remote = remote
                    named.stream = Stream(self._ledger, self._slots)
                    self._tell_stream(self._slots, named.name, local, remote)
                    self._slots += 1
        return named.stream
