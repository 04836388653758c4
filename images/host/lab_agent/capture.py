"""The host's own tcpdump: ready when it says so, stopped without loss, with its counts."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import Any

from .loop import Loop, Timer
from .reach import NOT_THESE
from .tools import DEFAULT_SIGNALS
from .unprivileged import spawn

#: Kernel buffer in KiB. In immediate mode each slot is as large as the MTU with the offloads off, so this is
#: 20,000 packets: 0.3 s of the most that the wire can carry.
BUFFER_KIB = 32768
STOP_TIMEOUT = 10.0

_COUNTS = re.compile(
    rb"(\d+) packets? captured.*?(\d+) packets? received by filter.*?(\d+) packets? dropped by kernel", re.S
)


class Capture:
    """One tcpdump, from `start` to `stop`."""

    def __init__(self, loop: Loop, interface: str, mac: str, path: str, snaplen: int) -> None:
        self._loop = loop
        self.interface = interface
        self.path = path
        self._said = bytearray()
        self._ready: Callable[[], None] | None = None
        self._stopped: Callable[[dict[str, Any]], None] | None = None
        self._failed: Callable[[str], None] | None = None
        self._stop_failed: Callable[[str], None] | None = None
        self._status: int | None = None
        self._reported = False
        self._timer: Timer | None = None
        # The bridge floods frames whose target it has not learned yet: frames for another host are not ours.
        only = f"(ether host {mac} or ether multicast) and {NOT_THESE}"
        self._argv = ["tcpdump", "-i", interface, "-n", "-p", "-U", "--immediate-mode"]
        self._argv += ["--time-stamp-precision=nano", "-B", str(BUFFER_KIB), "-s", str(snaplen)]
        self._argv += ["-Z", "root", "-w", path, only]
        self._pid = 0
        self._fd = -1

    def start(self, ready: Callable[[], None], failed: Callable[[str], None]) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._ready, self._failed = ready, failed
        self._fd, write = os.pipe()
        os.set_blocking(self._fd, False)
        self._pid = spawn(self._argv, write, DEFAULT_SIGNALS)
        os.close(write)
        self._loop.read(self._fd, self._hear)
        self._loop.child(self._pid, self._ended)

    @property
    def running(self) -> bool:
        return self._pid != 0 and self._status is None and not self._reported

    def _hear(self) -> None:
        data = self._read()
        if not data and self._fd >= 0:
            self._loop.read(self._fd, None)
        if self._ready is not None and b"listening on" in self._said and b"\n" in data:
            ready, self._ready, self._failed = self._ready, None, None
            ready()
        elif self._stopped is not None and not self._reported and _COUNTS.search(self._said):
            # Each packet was flushed, so the file is complete before the counts are written. To exit, tcpdump
            # then waits 30 ms for the kernel to release its socket.
            self._report()

    def _read(self) -> bytes:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return b"\n"
        self._said += data
        return data

    def _ended(self, status: int) -> None:
        self._status = os.waitstatus_to_exitcode(status)
        self._loop.read(self._fd, None)
        while self._read():
            pass
        os.close(self._fd)
        self._fd = -1
        if self._timer is not None:
            self._timer.cancel()
        if self._failed is not None:
            self._failed(f"tcpdump ended with {self._status}: {self._words()}")
        elif self._stopped is not None and not self._reported:
            self._report()

    def stop(self, stopped: Callable[[dict[str, Any]], None], failed: Callable[[str], None]) -> None:
        """Send SIGINT and read the counts: by then the file holds all that tcpdump had."""
        self._stopped, self._failed, self._reported = stopped, None, False
        self._stop_failed = failed
        if self._status is not None:
            self._report()
            return
        os.kill(self._pid, signal.SIGINT)
        self._timer = self._loop.after(STOP_TIMEOUT, self._too_late)

    def _too_late(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def _report(self) -> None:
        assert self._stopped is not None
        self._reported = True
        counts = _COUNTS.search(self._said)
        if counts is None:
            assert self._stop_failed is not None
            self._stop_failed(f"tcpdump gave no counts, it ended with {self._status}: {self._words()}")
            return
        captured, received, dropped = (int(number) for number in counts.groups())
        self._stopped(
            {
                "path": self.path,
                "interface": self.interface,
                "captured": captured,
                "received": received,
                "dropped": dropped,
                "status": self._status,
                "said": self._words(),
            }
        )

    def end(self) -> None:
        """Kill it at the end of the agent: nobody will read the file."""
        if self._pid != 0 and self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _words(self) -> str:
        return bytes(self._said[-2048:]).decode("utf-8", "replace").strip()
