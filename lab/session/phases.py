"""How long each phase of a case takes; phases may overlap and come from several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.clock import NS, SYSTEM_CLOCK, Clock
from lab.result import Phase


class Phases:
    """A stopwatch with names."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._begin = clock.monotonic_ns()
        self._lock = threading.Lock()
        self._phases: list[Phase] = []

    def seconds(self) -> float:
        """Since the stopwatch was made."""
        return (self._clock.monotonic_ns() - self._begin) / NS

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = self.seconds()
        try:
            yield
        finally:
            phase = Phase(name, round(start, 4), round(self.seconds() - start, 4))
            with self._lock:
                self._phases.append(phase)

    def all(self) -> tuple[Phase, ...]:
        """In the order in which they began."""
        with self._lock:
            return tuple(sorted(self._phases, key=lambda phase: phase.start))
