"""Pins everything that sends on the hosts and the wire to one CPU.

The machine's kernel has a queue for each CPU at every interface, so packets that one socket sends from two
CPUs (from its process, and on the arrival of a packet, on the CPU that brought it) can overtake each other.
Routed by that kernel, 350 to 640 of a bulk transfer's 35,000 packets were retransmitted without a loss;
through user-mode Linux, 2 to 11 of some 3,700 ACKs came out of order. On one CPU: none or one, and none.
"""

from __future__ import annotations

import os


class Pinning:
    """The chosen CPU, if any. Used as a context: what is started in it runs on that CPU."""

    def __init__(self) -> None:
        self._all = os.sched_getaffinity(0)
        self._chosen: set[int] | None = None

    def choose(self, number: int) -> int:
        """Choose one of the CPUs that this host may use; a number means the same CPU on every host."""
        cpus = sorted(self._all)
        cpu = cpus[number % len(cpus)]
        self._chosen = {cpu}
        return cpu

    def apply(self, pid: int) -> None:
        """Pin a process that was started before and has one thread."""
        if self._chosen is not None:
            os.sched_setaffinity(pid, self._chosen)

    def __enter__(self) -> None:
        self.apply(0)

    def __exit__(self, *_: object) -> None:
        if self._chosen is not None:
            os.sched_setaffinity(0, self._all)
