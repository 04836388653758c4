"""One socket call in progress: its deadline, its stamps, its record."""

from __future__ import annotations

import binascii
import errno
import hashlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .ledger import Stream
from .sockets import Address, Named, Sockets
from .waiting import wait_fd, wait_fds

#: A call that waits longer reports it, once. Not sooner: the report takes 0.1 ms, which would delay the stamp
#: of a short call's end.
QUICK_NS = 3_000_000
#: The calls that SO_SNDTIMEO limits; SO_RCVTIMEO limits the others.
SENDING = ("connect", "send", "sendall", "sendto")
KEEP = 64 << 10  #: bytes of received data kept in a record
WHOLE = 64_000_000  #: if all of it is wanted

T = TypeVar("T")


class TimedOut(Exception):
    """The socket's own time-out, not the kernel's ETIMEDOUT."""


class Cancelled(Exception):
    """The lab gave the call up."""


class EndOfStream(Exception):
    """The peer closed before all the wanted data had come."""


class Received:
    """Received data: the first `keep` bytes, and the length and hash of all."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self.head = bytearray()
        self.length = 0
        self._hash = hashlib.sha256()

    def add(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self.length += len(data)
        if len(self.head) < self._keep:
            self.head += data[: self._keep - len(self.head)]

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class Call:
    """The state of a call for a function of `calls.CALLS`. One thread runs it; others only `cancel` it."""

    def __init__(
        self,
        number: int,
        name: str,
        args: dict[str, Any],
        timeout_ns: int | None,
        sockets: Sockets,
        tell_begun: Callable[[Call], None],
    ) -> None:
        self.number = number
        self.name = name
        self.args = args
        self.sockets = sockets
        self._timeout_ns = timeout_ns  # of this call alone; None: the socket's
        self._tell_begun: Callable[[Call], None] | None = tell_begun
        self.keep = KEEP
        self._cancelled = False
        self._entered: Named | None = None
        self.used: Named | None = None  #: the socket in the record
        self.start_mono = self.start_wall = self.end_mono = self.end_wall = 0
        self._limit_ns: int | None = None
        self._by_kernel = False  #: the limit is SO_RCVTIMEO or SO_SNDTIMEO, which end a call with EAGAIN
        self.until_ns: int | None = None
        self.blocking = True  #: False: EAGAIN at once
        # the outcome in the record
        self.result: Any = None
        self.received: Received | None = None
        self.sent_bytes: int | None = None
        self.sent_hash = hashlib.sha256()
        self.eof = False
        self.peer: Address | None = None
        self.truncated: bool | None = None
        self.error: dict[str, Any] | None = None
        self.notes: list[str] = []

    # -- the socket and the clock ------------------------------------------------------------------

    def use(self, name: str) -> Named:
        """The named socket, which stays open until this call ends. EBADF if it was closed or never made."""
        if not self.sockets.has(name):
            self.begin()
            gone = "the call that should have made it failed, or its process has ended"
            raise OSError(errno.EBADF, f"no socket {name}: {gone}")
        return self.enter(self.sockets.get(name))

    def enter(self, named: Named) -> Named:
        self.used = named
        if not self.sockets.enter(named, self.number, self.name):
            self.begin()
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._entered = named
        return named

    @property
    def has_timeout(self) -> bool:
        """Whether the call itself was given a time-out, which is then the total."""
        return self._timeout_ns is not None

    def begin(self) -> None:
        """Stamp the start. Everything that is not part of the call itself comes before."""
        timeout = self._timeout_ns
        if timeout is None and self.used is not None:
            timeout = self.used.timeout_ns
        self.blocking = timeout != 0
        if timeout is None and self.used is not None:
            timeout = self.used.send_limit_ns if self.name in SENDING else self.used.receive_limit_ns
            self._by_kernel = timeout is not None
        self._limit_ns = timeout
        self.start_wall = time.time_ns()
        self.start_mono = time.monotonic_ns()
        self.restart_timeout()

    def restart_timeout(self) -> None:
        """Restart the time-out: each recv() of a drain has the socket's whole time-out."""
        self.until_ns = None if not self._limit_ns else time.monotonic_ns() + self._limit_ns

    def stamp(self) -> None:
        """Stamp what may have been the end."""
        self.end_mono = time.monotonic_ns()
        self.end_wall = time.time_ns()

    # -- waiting -----------------------------------------------------------------------------------

    def once(self, named: Named, call: Callable[[], T]) -> T:
        """Make the non-blocking `call` and stamp its end right after it. BlockingIOError is EAGAIN."""
        if named.owed is not None:
            error, named.owed = named.owed, None
            self.stamp()
            raise error
        try:
            value = call()
        except OSError:
            self.stamp()
            raise
        self.stamp()
        return value

    def attempt(self, named: Named, events: int, call: Callable[[], T]) -> T:
        """Repeat `call` until it no longer gives EAGAIN or the time is over."""
        while True:
            try:
                return self.once(named, call)
            except BlockingIOError:
                if not self.blocking:
                    raise
            self.wait(named, events)

    def wait(self, named: Named, events: int) -> None:
        """Wait until the descriptor is ready; raises `TimedOut` or `Cancelled`."""
        if self._tell_begun is not None:
            if self._wait_once(named, events, time.monotonic_ns() + QUICK_NS):
                return
            tell, self._tell_begun = self._tell_begun, None
            tell(self)
        while not self._wait_once(named, events, self.until_ns):
            pass

    def wait_many(self, fds: list[int], events: int) -> list[int]:
        """Wait until one of the descriptors is ready or invalid (-1); returns the events of each."""
        if -1 in fds or not self.blocking:
            until: int | None = 0
        else:
            until = time.monotonic_ns() + QUICK_NS
        while True:
            self.check()
            limit = min((one for one in (until, self.until_ns) if one is not None), default=None)
            found = wait_fds([fd for fd in fds if fd >= 0], events, limit)
            if any(found) or -1 in fds:
                self.stamp()
                given = iter(found)
                return [0 if fd < 0 else next(given) for fd in fds]
            if not self.blocking:
                self.stamp()
                raise TimedOut
            if self._tell_begun is not None:
                tell, self._tell_begun = self._tell_begun, None
                tell(self)
            until = None

    def _wait_once(self, named: Named, events: int, until_ns: int | None) -> bool:
        self.check()
        if self.until_ns is not None and until_ns is not None:
            until_ns = min(until_ns, self.until_ns)
        if wait_fd(named.fd, events, until_ns):
            self.stamp()
            return True
        return False

    def check(self) -> None:
        """Raise `Cancelled` or `TimedOut` if the call was given up or its time is over."""
        if self._cancelled:
            self.stamp()
            raise Cancelled
        if self.until_ns is not None and time.monotonic_ns() >= self.until_ns:
            self.stamp()
            if self._by_kernel:
                code = errno.EINPROGRESS if self.name == "connect" else errno.EAGAIN
                raise OSError(code, os.strerror(code))
            raise TimedOut

    def cancel(self) -> None:
        """Give the call up; another thread calls this, and then wakes this call's thread."""
        self._cancelled = True

    # -- what was carried --------------------------------------------------------------------------

    def took(self, named: Named, data: memoryview) -> None:
        """Note bytes that the kernel took."""
        self.sent_bytes = (self.sent_bytes or 0) + len(data)
        self.sent_hash.update(data)
        stream = self._stream(named)
        if stream is not None:
            stream.sent(data)

    def came(
        self, named: Named, data: bytes | memoryview, *, peeked: bool = False, whole: int | None = None
    ) -> None:
        """Note bytes that the kernel gave; `whole` is the full length, if it reported more than these."""
        if self.received is None:
            self.received = Received(self.keep)
        self.received.add(data)
        if whole is not None:
            self.received.length = whole
        if not peeked and (stream := self._stream(named)) is not None:
            stream.received(data)

    def _stream(self, named: Named) -> Stream | None:
        return named.stream or self.sockets.stream(named)

    # -- the end -----------------------------------------------------------------------------------

    def run(self, function: Callable[[Call], None]) -> dict[str, Any]:
        """Make the call; return its record."""
        try:
            function(self)
        except TimedOut as error:
            limit = (self._limit_ns or 0) / 1e9
            more = f"; {error}" if error.args else ""
            self.fail("timeout", None, f"the socket's own time-out of {limit:g} s ran out{more}")
        except Cancelled:
            self.fail("cancelled", None, "the lab ended the wait")
        except EndOfStream as error:
            self.eof = True
            self.fail("EOF", None, str(error))
        except socket.gaierror as error:
            self.fail("gaierror", None, error.strerror or str(error))
        except OSError as error:
            code = error.errno
            name = errno.errorcode.get(code, type(error).__name__) if code else type(error).__name__
            self.fail(name, code, error.strerror or str(error))
        finally:
            record = self._record()
            if self._entered is not None:
                self.sockets.leave(self._entered, self.number)
        return record

    def fail(self, name: str, code: int | None, message: str) -> None:
        self.error = {"name": name, "errno": code, "message": message}

    def _record(self) -> dict[str, Any]:
        if not self.start_mono:
            self.begin()
        if not self.end_mono:
            self.stamp()
        record: dict[str, Any] = {
            "start_mono_ns": self.start_mono,
            "end_mono_ns": self.end_mono,
            "start_wall_ns": self.start_wall,
            "end_wall_ns": self.end_wall,
            "result": self.result,
            "eof": self.eof,
            "peer": self.peer,
            "truncated": self.truncated,
            "error": self.error,
            "notes": self.notes,
        }
        record.update(self.facts())
        if self.received is not None:
            record["data"] = binascii.b2a_base64(self.received.head, newline=False).decode()
            record["length"] = self.received.length
            record["sha256"] = self.received.sha256
        elif self.sent_bytes is not None:
            record["length"] = self.sent_bytes
            record["sha256"] = self.sent_hash.hexdigest()
        return record

    def facts(self) -> dict[str, Any]:
        """What is known of the socket now, for the record."""
        named = self.used
        if named is None:
            return {"socket": None, "fd": None, "kind": None, "local": None, "remote": None}
        open_now = named.fd_open
        return {
            "socket": named.name,
            "fd": named.fd,
            "kind": named.kind,
            "local": named.local_address() if open_now else named.local,
            "remote": named.remote_address() if open_now else named.remote,
        }
