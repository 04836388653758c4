"""The agent's event loop: descriptors, timers and children, in one thread.

It is one thread because the agent forks the processes that make the socket calls: a fork of a process with
threads may inherit a lock that nothing will ever release.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import time
from collections.abc import Callable

NS_PER_MS = 1_000_000


class Timer:
    """One callback at one time, unless `cancel` comes first."""

    __slots__ = ("at_ns", "callback")

    def __init__(self, at_ns: int, callback: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Runs callbacks for readable and writable descriptors, for timers and for children that ended."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: set[int] = set()
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._children: dict[int, Callable[[int], None]] = {}
        self._running = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.read(self._wake_read, self._reap)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def read(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call back while `fd` is readable or at its end; None stops it."""
        self._watch(self._readers, fd, callback)

    def write(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call back while `fd` is writable or broken; None stops it."""
        self._watch(self._writers, fd, callback)

    def _watch(
        self, table: dict[int, Callable[[], None]], fd: int, callback: Callable[[], None] | None
    ) -> None:
        if callback is None:
            table.pop(fd, None)
        else:
            table[fd] = callback
        events = (select.POLLIN if fd in self._readers else 0) | (
            select.POLLOUT if fd in self._writers else 0
        )
        if events:
            self._poll.register(fd, events)
            self._watched.add(fd)
        elif fd in self._watched:
            self._poll.unregister(fd)
            self._watched.discard(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(time.monotonic_ns() + int(seconds * 1e9), callback)
        heapq.heappush(self._timers, (timer.at_ns, next(self._order), timer))
        return timer

    def child(self, pid: int, callback: Callable[[int], None]) -> None:
        """Call back with the wait status once child `pid` has ended; it is reaped by then."""
        self._children[pid] = callback

    def ended(self, pid: int, status: int) -> None:
        """Take note that someone else reaped `pid`."""
        callback = self._children.pop(pid, None)
        if callback is not None:
            callback(status)

    def _reap(self) -> None:
        os.read(self._wake_read, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.ended(pid, status)  # a process without a callback was an orphan: we are pid 1

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        self._running = True
        while self._running:
            for fd, events in self._poll.poll(self._timeout_ms()):
                if events & ~select.POLLOUT and (reader := self._readers.get(fd)):
                    reader()
                if events & ~select.POLLIN and (writer := self._writers.get(fd)):
                    writer()
            self._run_timers()

    def _timeout_ms(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, (self._timers[0][0] - time.monotonic_ns()) / NS_PER_MS)

    def _run_timers(self) -> None:
        now = time.monotonic_ns()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()


def _nothing(number: int, frame: object) -> None:
    """Handle the signal, so that it writes to the wake-up descriptor."""
