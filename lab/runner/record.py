"""What the steps leave behind while they run; several threads may add to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.clock import SYSTEM_CLOCK, Clock
from lab.evidence.model import CallRecord, Place, RunRecord, StepRecord
from lab.verdict import Finding, Verdict


@dataclass
class Record:
    """Steps, calls, programs and findings, in the order in which they ended."""

    clock: Clock = SYSTEM_CLOCK
    steps: list[StepRecord] = field(default_factory=list)
    calls: dict[str, CallRecord] = field(default_factory=dict)  #: by id of the step
    runs: dict[str, RunRecord] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, record: CallRecord) -> None:
        with self._lock:
            self.calls[record.step] = record

    def run(self, record: RunRecord) -> None:
        with self._lock:
            self.runs[record.step] = record

    def judged(self, findings: tuple[Finding, ...]) -> None:
        with self._lock:
            self.findings.extend(findings)

    @property
    def failed(self) -> bool:
        with self._lock:
            return any(f.verdict in (Verdict.FAIL, Verdict.ERROR) for f in self.findings)

    @contextmanager
    def step(self, step: str, do: str, place: Place, at: str | None) -> Iterator[None]:
        """Times a step; it is recorded however it ends."""
        mono, wall = self.clock.monotonic_ns(), self.clock.wall_ns()
        try:
            yield
        finally:
            record = StepRecord(
                step, do, place, at, wall, self.clock.wall_ns(), mono, self.clock.monotonic_ns()
            )
            with self._lock:
                self.steps.append(record)
