"""A running lab, asked to act, to collect and to judge. It knows no file of a scenario and no signal."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from lab.checks import judge_checks
from lab.checks.common import Context
from lab.clock import SYSTEM_CLOCK, Deadline
from lab.errors import WireError
from lab.evidence.model import CallRecord, RunRecord
from lab.evidence.store import Evidence
from lab.evidence.timeline import Timeline
from lab.judging.steps import StepJudge
from lab.scenario.calls import Call, Step
from lab.scenario.checks import Check
from lab.session.calls import Calls
from lab.session.collect import collect, read_counters
from lab.session.events import Events
from lab.session.executor import Executor
from lab.session.folder import RunFolder, make_case_folder
from lab.session.record import Record
from lab.session.services import not_ready
from lab.session.settle import quiet_time, settle
from lab.session.testbed import Testbed
from lab.tolerance import Tolerance
from lab.verdict import Finding

_FOR_EVER = 1 << 62  #: ns: for so long no packet has been seen where there is no host


class _Kept:
    """A folder that exists for as long as somebody holds this."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="lab-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def let_go(self) -> None:
        """Called when a capture is gone; what was held for it is released."""


class Session:
    """Usable from any thread. Get one from `lab.session.opening.open_session`.

    What happens goes out as events; `record` holds those that evidence and verdict are made of.
    """

    def __init__(
        self, bed: Testbed, events: Events, record: Record, tolerance: Tolerance, steps: Iterable[Step] = ()
    ) -> None:
        """`steps` are those that will come, as far as known: an `await` may speak for an earlier one."""
        self.bed = bed
        self.events = events
        self.record = record
        self.tolerance = tolerance
        attachments = {name: (at,) for name, at in bed.attachments.items()}
        self._judge = StepJudge(Context(attachments, self._timeline(), tolerance))
        self._judge.know(steps)
        self._calls = Calls(bed, events, self._judge_step, lambda: record.failed, Deadline("no limit", None))
        self._executor = Executor(bed, events, self._calls, bed.interrupt)
        self._executor.calls_at = self._calls_at
        self._before = read_counters(bed)

    def start_services(self) -> None:
        """Starts the hosts' services; returns when all are ready. What does not get ready is a finding."""
        services = self.bed.services
        for error in services.start(services.first(), self.deadline):
            self.events.emit(not_ready(error, error.path, error.place))

    # --- acting ---

    @property
    def deadline(self) -> Deadline:
        """When a step that still waits is given up. None at first."""
        return self._calls.deadline

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        self._calls.deadline = deadline

    def read_states_after(self, steps: Collection[str]) -> None:
        """Reads the states of all sockets whenever one of these steps has ended, for `state` with `when`."""
        self._executor.states_after = steps

    def know(self, steps: Iterable[Step]) -> None:
        """Steps that will come: an `await` may speak for an earlier one."""
        self._judge.know(steps)

    def act(self, step: Step, *, judged: bool = True, whole: bool = False) -> CallRecord | RunRecord | None:
        """Does one step. Returns when it has ended, or goes on in the background; its findings are events.

        The value is the record of the call or the program that ended with it. Not `judged`: it does
        not matter how the call turns out. `whole`: that record has all data that came, up to 64 MB, and not
        only the 64 KiB that the evidence keeps. Raises `LabError` where the lab itself breaks.
        """
        self._judge.know((step,))
        if not judged:
            self._calls.unjudged.add(step.id)
        if whole:
            self._calls.whole.add(step.id)
        return self._executor.step(step)

    def wait(self, step: str, timeout: float | None = None) -> bool:
        """Whether a background step has ended, within `timeout` seconds (None: for ever)."""
        pending = self._calls.pending.get(step)
        if pending is None:
            return True
        futures: list[Future[Any]] = [pending.future]
        return bool(wait(futures, timeout).done)

    def end(self, step: str) -> CallRecord | RunRecord:
        """The record of a background step, awaited; it does not matter how the call turned out.

        Raises `KeyError` where the step was awaited already, or is none.
        """
        return self._calls.end(step)

    def finish(self) -> None:
        """Ends what goes on in the background: calls are awaited, programs are ended."""
        self._calls.finish()

    def _calls_at(self, host: str) -> bool:
        return any(isinstance(step, Call) and step.at == host for step in self._judge.steps.values())

    def _timeline(self) -> Timeline:
        """The links so far."""
        links = {name: at.link for name, at in self.bed.attachments.items()}
        return Timeline(links, self.bed.wire.events)

    def _judge_step(self, step: Step) -> tuple[Finding, ...]:
        """What the step expects, by the links as they were when its call began."""
        return self._judge.at(self._timeline()).judge(step, self.record.calls, self.record.runs)

    # --- evidence ---

    def settle(self) -> bool:
        """Waits until nothing is in flight, at most 3 s; says whether the network came to rest."""
        hosts = self.bed.on()
        return settle(
            lambda: min((host.quiet_ns() for host in hosts.values()), default=_FOR_EVER),
            self.bed.wire.in_flight,
            quiet_time(self.bed.wire.links.values()),
            self.bed.interrupt.wait,
            SYSTEM_CLOCK,
        )

    def collect(self, folder: RunFolder) -> tuple[Evidence, WireError | None]:
        """All evidence, written into the folder; the captures end. With it, why not to believe the wire.

        A wire that no longer is as asked does not keep the evidence from being taken: the packets shall say
        what it did in place of what was asked.
        """
        broken: WireError | None = None
        try:
            self.bed.wire.confirm()
        except WireError as error:
            broken = error
        return collect(self.bed, self.record, self._before, self.tolerance, folder), broken

    def snapshot(self) -> Evidence:
        """The evidence so far; everything goes on. Settle before, or what is in flight counts as lost."""
        kept = _Kept()
        folder = make_case_folder(kept.path)
        evidence = collect(self.bed, self.record, self._before, self.tolerance, folder, final=False)
        for capture in evidence.captures.values():
            weakref.finalize(capture, kept.let_go)  # frames are read from the file, when they are asked for
        return evidence

    def judge(self, checks: Sequence[Check], evidence: Evidence) -> tuple[Finding, ...]:
        """One finding for each check, in order."""
        return judge_checks(checks, evidence)
