"""Time as the lab sees it: an injected clock and one deadline that is passed down."""

from __future__ import annotations

import time
from typing import Protocol

from msgspec import Struct

from lab.errors import DeadlineExceeded

NS = 1_000_000_000


class Clock(Protocol):
    """What the lab asks of time; tests pass their own."""

    def monotonic_ns(self) -> int: ...
    def wall_ns(self) -> int: ...
    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """CLOCK_MONOTONIC for intervals, CLOCK_REALTIME for stamps that are compared with captures."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


class Deadline(Struct, frozen=True):
    """A moment on the monotonic clock after which waiting is over.

    `what` names the goal for the error text. `at_ns` is None where nothing limits the wait.
    """

    what: str
    at_ns: int | None
    clock: Clock = SYSTEM_CLOCK

    @classmethod
    def after(cls, seconds: float, what: str, clock: Clock = SYSTEM_CLOCK) -> Deadline:
        return cls(what, clock.monotonic_ns() + int(seconds * NS), clock)

    def remaining(self) -> float:
        """Seconds left, never below 0; infinity without a limit."""
        if self.at_ns is None:
            return float("inf")
        return max(0.0, (self.at_ns - self.clock.monotonic_ns()) / NS)

    def expired(self) -> bool:
        return self.remaining() <= 0.0

    def timeout(self) -> float | None:
        """Seconds left as `select`, `Event.wait` and `subprocess` take them: None is for ever."""
        return None if self.at_ns is None else self.remaining()

    def check(self) -> None:
        """Raise `DeadlineExceeded` when the time is used up."""
        if self.expired():
            raise DeadlineExceeded(f"{self.what}: out of time")

    def sooner(self, seconds: float, what: str) -> Deadline:
        """A deadline for a part of the work: `seconds` from now, but never later than this one."""
        part = Deadline.after(seconds, what, self.clock)
        assert part.at_ns is not None
        if self.at_ns is not None and self.at_ns < part.at_ns:
            return Deadline(what, self.at_ns, self.clock)
        return part
