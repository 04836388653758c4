"""The events that a lab's evidence and result are made of, kept as they come."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.evidence.model import CallRecord, RunRecord, StateSample, StepRecord
from lab.result import Phase
from lab.session.events import Event
from lab.verdict import Finding


@dataclass
class Record:
    """A listener: steps, calls, programs, findings and phases, in the order in which they ended."""

    steps: list[StepRecord] = field(default_factory=list)
    calls: dict[str, CallRecord] = field(default_factory=dict)  #: by id of the step
    runs: dict[str, RunRecord] = field(default_factory=dict)
    states: list[StateSample] = field(default_factory=list)  #: read because a check asks for that moment
    findings: list[Finding] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        match event:
            case StepRecord():
                self.steps.append(event)
            case CallRecord():
                self.calls[event.step] = event
            case RunRecord():
                self.runs[event.step] = event
            case StateSample():
                self.states.append(event)
            case Finding():
                self.findings.append(event)
            case Phase():
                self.phases.append(event)
            case _:
                pass  # the wire keeps its own events; the rest is for people

    @property
    def failed(self) -> bool:
        return any(finding.verdict.bad for finding in list(self.findings))
