"""What the steps leave behind while they run; several threads may add to it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from lab.evidence.model import CallRecord, RunRecord, StepRecord
from lab.verdict import Finding, Verdict


@dataclass
class Record:
    """Steps, calls, programs and findings, in the order in which they ended."""

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

    def step(self, record: StepRecord) -> None:
        with self._lock:
            self.steps.append(record)
