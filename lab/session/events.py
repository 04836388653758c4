"""What happens in a lab, as one stream of events: progress, phases, log, record and report listen to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from lab.clock import NS, SYSTEM_CLOCK, Clock
from lab.evidence.model import CallRecord, RunRecord, StateSample, StepRecord, WireEvent
from lab.place import Place
from lab.result import Phase
from lab.verdict import Finding


class Said(Struct, frozen=True):
    """What the lab is doing, for people who wait. What is `lasting` is worth a line of its own."""

    text: str
    lasting: bool = False


class StepBegan(Struct, frozen=True):
    """A step is under way; its end is a `StepRecord`."""

    step: str
    do: str
    place: Place


#: Phases, steps, calls and programs are emitted when they have ended; states only when asked for.
Event = Said | Phase | StepBegan | StepRecord | CallRecord | RunRecord | StateSample | WireEvent | Finding
Listener = Callable[[Event], None]


class Events:
    """One stream. Events may come from any thread; each listener gets them one at a time, in one order.

    A listener must be quick: whoever emits waits for it.
    """

    def __init__(self, *listeners: Listener, clock: Clock = SYSTEM_CLOCK) -> None:
        self._listeners = list(listeners)
        self._clock = clock
        self._begin = clock.monotonic_ns()
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        with self._lock:
            for listener in self._listeners:
                listener(event)

    @contextmanager
    def to(self, listener: Listener) -> Iterator[None]:
        """Within the block `listener` hears everything too."""
        with self._lock:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def seconds(self) -> float:
        """Since the stream was made."""
        return (self._clock.monotonic_ns() - self._begin) / NS

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Emits how long the block took, also where it raised. Phases may overlap."""
        start = self.seconds()
        try:
            yield
        finally:
            self.emit(Phase(name, round(start, 4), round(self.seconds() - start, 4)))
