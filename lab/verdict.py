"""Verdicts of steps and checks: what was expected, what was seen and where to look."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from lab.errors import EXIT_ENVIRONMENT, EXIT_FAIL, EXIT_OK
from lab.place import Place


class Verdict(StrEnum):
    """PASS, FAIL (a check said no), ERROR (the lab broke or could not impair), SKIP (cannot run here)."""

    PASS = "PASS"
    FAIL = "FAIL"
    ERROR = "ERROR"
    SKIP = "SKIP"

    @staticmethod
    def of(verdicts: Iterable[Verdict]) -> Verdict:
        """The verdict of a whole: ERROR wins over FAIL, FAIL over PASS, PASS over SKIP; of nothing: PASS."""
        seen = set(verdicts)
        for verdict in (Verdict.ERROR, Verdict.FAIL, Verdict.PASS, Verdict.SKIP):
            if verdict in seen:
                return verdict
        return Verdict.PASS

    @property
    def bad(self) -> bool:
        """FAIL or ERROR."""
        return self in (Verdict.FAIL, Verdict.ERROR)

    @property
    def exit_code(self) -> int:
        return {Verdict.ERROR: EXIT_ENVIRONMENT, Verdict.FAIL: EXIT_FAIL}.get(self, EXIT_OK)


class PacketRef(Struct, frozen=True):
    """A packet in a capture file: the host whose capture it is and the frame number there, from 1."""

    host: str
    number: int


class LogRef(Struct, frozen=True):
    """A line of a service's log: which start of which service wrote it, and when the engine received it."""

    host: str
    service: str
    start: int
    wall_ns: int


class Finding(Struct, frozen=True):
    """One thing that was judged: a step's expectation or a check.

    `expected`, `actual`, `tolerance` and `margin` are short texts with units; `margin` says how far `actual`
    is from the nearest limit (empty where there is no such distance).
    """

    name: str  #: "handshake", or the step's `do` with what was judged: "connect.elapsed"
    source: str  #: id of the step, or "checks[3]"
    place: Place
    verdict: Verdict
    expected: str
    actual: str
    tolerance: str = ""
    margin: str = ""
    reason: str = ""  #: one sentence; required for FAIL, ERROR and SKIP
    packets: tuple[PacketRef, ...] = ()  #: the packets that decide
    lines: tuple[LogRef, ...] = ()  #: the lines of services' logs that decide
