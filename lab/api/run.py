"""The run of a lab that a program acts in: the runner's own case, with another rule for a good end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from lab.clock import Deadline
from lab.engine.clean import RunLock
from lab.evidence.store import Evidence
from lab.result import Result
from lab.runner.case import CaseRun
from lab.session.plan import Plan
from lab.session.session import Session
from lab.verdict import Finding


class LabRun(CaseRun):
    """All hosts are started, and any of them may be impaired at any time. Nothing but how the program left
    the block, its services and the calls that it forgot decides the verdict."""

    ended: Callable[[], None]  #: called when all that is in its folder is written
    failures: Sequence[Finding] = ()  #: why the program left its lab: an exception, a failed check
    passed: Sequence[Finding] = ()  #: the checks that held

    def _plan(self, lock: RunLock, images: Mapping[tuple[str, str], str]) -> Plan:
        return replace(super()._plan(lock, images), hosts=self.scenario.hosts, only_routes=False)

    def end(self, session: Session) -> None:
        """Ends what goes on in the background, at once where the program failed."""
        session.deadline = Deadline.after(self.timeout.seconds, f"{self.timeout} behind the block")
        for finding in self.failures:
            self.events.emit(finding)
        session.finish()

    def finish(self) -> Result:
        result = super().finish()
        self.ended()
        return result

    def _judge(self, evidence: Evidence) -> None:
        self.record.findings[:0] = self.passed
        super()._judge(evidence)
