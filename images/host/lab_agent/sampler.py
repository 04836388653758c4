"""Watches the sockets of the host: records every change of state with its time, and waits for a state.

A full listing costs the kernel 0.2–0.3 ms (it walks its whole hash table); every 10 ms that would be 3 % of a
core. So each tick reads the interfaces' packet counts and the socket counts (15 µs), and lists only if they
changed, if a call began or ended, and in any case every 100 ms.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from .loop import Loop, Timer
from .sockdiag import Seen, SockDiag

PERIOD = 0.010
WAITING_PERIOD = 0.002  #: while someone waits for a state
AT_LEAST_NS = 100_000_000
DOCKERS_RESOLVER = "127.0.0.11"  #: its sockets are in every namespace but are not the lab's
AFTER_CALL = 0.001  #: seconds from a call's start to a listing: SYN_SENT and the like exist by then

Key = tuple[str, tuple[str, int], tuple[str, int] | None, bytes]


class Wait:
    """A wait for a socket to be in a state."""

    def __init__(self, kind: str, state: str, port: int, done: Callable[[dict[str, Any]], None]) -> None:
        self.kind = kind
        self.state = state
        self.port = port
        self.done = done

    def holds(self, there: Iterable[Seen]) -> bool:
        """Whether a socket is in the state: a listener by its own port, any other by the port of either end.

        A closed socket is in none of the kernel's tables: CLOSE means that the port has no connection left.
        """
        if self.state == "CLOSE":
            return not any(self._is_about(seen) and seen.state != "LISTEN" for seen in there)
        return any(self._is_about(seen) and seen.state == self.state for seen in there)

    def _is_about(self, seen: Seen) -> bool:
        ports = (seen.local[1], seen.remote[1] if seen.remote else None)
        return seen.kind == self.kind and self.port in ports


class Sampler:
    """Keeps the changes since the last `take`."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._diag = SockDiag()
        self._last: dict[Key, Seen] = {}
        self._missing: dict[Key, int] = {}  # not seen in the last listing, since when
        self._changes: list[dict[str, Any]] = []
        self._waits: list[Wait] = []
        self._traffic_fd = os.open("/proc/net/dev", os.O_RDONLY)
        self._counts_fds = [os.open(f"/proc/net/{name}", os.O_RDONLY) for name in ("sockstat", "sockstat6")]
        self._traffic = self._counts = b""
        self._traffic_ns = self._listed_ns = 0
        self._moved_timer: Timer | None = None
        self._running = False
        self._ipv6 = False  #: whether an IPv6 socket was ever seen

    def start(self) -> None:
        if not self._running:
            self._running = True
            self._tick()

    def began(self) -> None:
        """A call has begun: list once it has done something, not while it does it."""
        if self._running:
            self._look_soon()

    def moved(self) -> None:
        """A call or a process ended: list now, and once more in a moment."""
        if self._running:
            self.look()
            self._look_soon()

    def _look_again(self) -> None:
        self._moved_timer = None
        self.look()

    def _tick(self) -> None:
        self._look_if_moved()
        self._loop.after(WAITING_PERIOD if self._waits else PERIOD, self._tick)

    def _look_if_moved(self) -> None:
        now = time.monotonic_ns()
        traffic = os.pread(self._traffic_fd, 16384, 0)
        counts = b"".join(os.pread(fd, 4096, 0) for fd in self._counts_fds)
        if traffic != self._traffic:
            self._traffic_ns = now
        if traffic != self._traffic or counts != self._counts or now - self._listed_ns >= AT_LEAST_NS:
            self._traffic, self._counts = traffic, counts
            self.look()

    def quiet_ns(self) -> int:
        """How long no interface has sent or received anything: never too much, too little by one period."""
        self._look_if_moved()
        return time.monotonic_ns() - self._traffic_ns

    def _list(self) -> list[Seen]:
        # TCP6 and UDP6 in use include dual-stack listeners; if there never are any, half of the work goes.
        counts = os.pread(self._counts_fds[1], 4096, 0)
        if b"TCP6: inuse 0\n" not in counts or b"UDP6: inuse 0\n" not in counts:
            self._ipv6 = True  # for good: TIME_WAIT is not in these counts
        found = self._diag.dump(ipv6=self._ipv6)
        return [seen for seen in found if seen.local[0] != DOCKERS_RESOLVER]

    def look(self) -> None:
        """List the sockets and keep the changes."""
        found = self._list()
        now_wall, self._listed_ns = time.time_ns(), time.monotonic_ns()
        current = {_key(seen): seen for seen in found}
        for key, seen in current.items():
            before = self._last.get(key)
            if before is None or before.state != seen.state or _counts(before, seen):
                self._changes.append(_sample(seen, now_wall))
        for key, before in self._last.items():
            if key not in current:
                # A socket that moves between the kernel's tables at this moment can be missed once.
                since = self._missing.setdefault(key, now_wall)
                if since == now_wall:
                    current[key] = before
                    self._look_soon()
                else:
                    del self._missing[key]
                    self._changes.append({**_sample(before, since), "state": "GONE"})
            else:
                self._missing.pop(key, None)
        self._last = current
        for wait in [w for w in self._waits if w.holds(current.values())]:
            self._waits.remove(wait)
            wait.done({"wall_ns": now_wall, "mono_ns": self._listed_ns})

    def _look_soon(self) -> None:
        if self._moved_timer is None:
            self._moved_timer = self._loop.after(AFTER_CALL, self._look_again)

    def wait(self, wait: Wait) -> None:
        self._waits.append(wait)
        self.start()
        self.look()

    def forget(self, wait: Wait) -> bool:
        """End a wait; False if its state had been reached."""
        if wait in self._waits:
            self._waits.remove(wait)
            return True
        return False

    def take(self) -> list[dict[str, Any]]:
        """All changes so far."""
        return list(self._changes)

    def final(self) -> list[dict[str, Any]]:
        """Every socket as it is now."""
        found = self._list()
        now = time.time_ns()
        return [{**_sample(seen, now), "final": True} for seen in found]


def _key(seen: Seen) -> Key:
    """What identifies a socket. A connection is one socket through all its states, though the kernel makes
    two new ones on the way (request, TIME_WAIT); sockets without a peer differ by cookie (SO_REUSEPORT)."""
    return seen.kind, seen.local, seen.remote, b"" if seen.remote else seen.cookie


#: Timers that ordinary data under way does not start: their change is worth a sample.
_LASTING = ("keepalive", "persist")


def _counts(before: Seen, seen: Seen) -> bool:
    """Whether a change within a state counts: in a listener's queue, or a timer armed or given up."""
    if seen.state == "LISTEN":
        return before.recv_queue != seen.recv_queue
    return before.timer != seen.timer and (before.timer in _LASTING or seen.timer in _LASTING)


def _sample(seen: Seen, wall_ns: int) -> dict[str, Any]:
    return {
        "wall_ns": wall_ns,
        "kind": seen.kind,
        "local": seen.local,
        "remote": seen.remote,
        "state": seen.state,
        "recv_queue": seen.recv_queue,
        "send_queue": seen.send_queue,
        "timer": seen.timer,
        "left_ms": seen.left_ms,
    }
