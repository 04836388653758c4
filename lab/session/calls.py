"""Socket calls and programs, from their start to their record: at once, or awaited later."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec.structs import replace

from lab.clock import Deadline
from lab.errors import AgentError, DeadlineExceeded
from lab.evidence.model import KEPT_DATA, CallError, CallRecord, RunRecord
from lab.host import CallSpec, RunSpec
from lab.host.channel import AgentRefused
from lab.host.convert import unheard_record
from lab.scenario.calls import Call, Step
from lab.scenario.steps import Await, Run
from lab.session.arguments import arguments
from lab.session.events import Events
from lab.session.inside import Inside
from lab.session.plan import identity_of
from lab.session.service import Service
from lab.session.testbed import Boot, Testbed
from lab.verdict import Finding, Verdict

_END_OF_PROGRAM = 2.0  #: seconds for a program that still runs after the steps to end on SIGTERM
#: Signals whose default action does not end a program.
_HARMLESS = frozenset({"CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"})
_END_OF_CALL = 5.0  #: seconds for the record of a call that was cancelled

#: Judges a step that has ended by its `expect`.
Judge = Callable[[Step], tuple[Finding, ...]]


@dataclass
class Pending:
    """A call or a program that goes on in the background."""

    step: Call | Run
    future: Future[CallRecord] | Future[RunRecord]
    boot: Boot  #: of the host, when this began
    inside: Inside | None = None  #: set for a program that runs in a service
    ended_by: str | None = None  #: id of the step that sent a signal which may end it; "" is the lab
    started: tuple[int, int] = field(default_factory=lambda: (time.monotonic_ns(), time.time_ns()))


@dataclass
class Calls:
    """The calls and programs of a lab, and those that still go on. Thread-safe as far as the steps are."""

    bed: Testbed
    events: Events
    judge: Judge
    failed: Callable[[], bool]  #: whether a finding so far says that the lab's user was disappointed
    deadline: Deadline
    pending: dict[str, Pending] = field(default_factory=dict)
    unjudged: set[str] = field(default_factory=set)  #: steps from which nothing is expected
    whole: set[str] = field(default_factory=set)  #: calls whose data is wanted whole, not only its beginning

    def call(self, step: Call) -> CallRecord | RunRecord | None:
        spec = CallSpec(
            step=step.id,
            process=step.process,
            call=step.do,
            arguments=arguments(step),
            timeout=step.timeout,
            whole=step.id in self.whole,
        )
        boot = self.bed.boots[step.at][-1]
        pending = Pending(step, boot.host.call(spec), boot)
        if step.background:
            boot.host.begun(step.id)
            self.pending[step.id] = pending
            return None
        return self._end(pending, step)

    def program(self, step: Run) -> CallRecord | RunRecord | None:
        spec = RunSpec(
            step=step.id,
            argv=tuple(step.command),
            stdin=step.stdin or "",
            timeout=step.timeout,
            identity=identity_of(step),
            environment=step.environment or {},
        )
        boot = self.bed.boots[step.at][-1]
        if boot.power_off is not None:
            return self._end(Pending(step, _gone(step.at), boot), step)
        inside: Inside | None = None
        if step.in_ is not None:
            service = self.bed.services.of(step.at, step.in_)
            if not service.running:
                return self._not_running(step, service)
            inside = service.run(spec)
        pending = Pending(step, boot.host.run(spec) if inside is None else inside.future, boot, inside)
        if step.background:
            if inside is None:
                boot.host.begun(step.id)
            self.pending[step.id] = pending
            return None
        return self._end(pending, step)

    def _not_running(self, step: Run, service: Service) -> RunRecord:
        """The record of a program whose service does not run."""
        now = time.monotonic_ns(), time.time_ns()
        error = f"{step.command[0]} could not be started in {service.name}: {service.status()}"
        record = unheard_record(step.at, step.id, step.command, now, now, error, service=service.name)
        self.events.emit(record)
        self._judge(step)
        return record

    def signal(self, pending: Pending, name: str, by: str) -> None:
        """A signal to a program that goes on, by a step, or by the lab (`by` is "")."""
        if name not in _HARMLESS:
            pending.ended_by = by
        if pending.inside is not None:
            pending.inside.signal(name)
        else:
            pending.boot.host.signal_run(pending.step.id, name)

    def awaits(self, step: Await) -> CallRecord | RunRecord:
        return self._end(self.pending.pop(step.awaits), step)

    def end(self, name: str) -> CallRecord | RunRecord:
        """Awaits a background step from which nothing is expected."""
        pending = self.pending.pop(name)
        self.unjudged.add(name)
        return self._end(pending, pending.step)

    def _end(self, pending: Pending, by: Step) -> CallRecord | RunRecord:
        """Waits for a call or a program and judges it; one that hangs is given up and recorded as such."""
        try:
            record = pending.future.result(self.deadline.timeout())
        except FutureTimeout:
            self.events.emit(self._give_up(pending))
            text = f"{pending.step.do} at {pending.step.at} hangs: {self.deadline.what} are over"
            raise DeadlineExceeded(text) from None
        except AgentError as error:
            record = self._of_dead_host(pending, error)
        record = self._with_its_end(pending, record)
        self.events.emit(_kept(record))
        self._judge(by)
        return record

    def _with_its_end(self, pending: Pending, record: CallRecord | RunRecord) -> CallRecord | RunRecord:
        """The record of a program says who ended it, if somebody did."""
        if not isinstance(record, RunRecord) or record.error is not None:
            return record
        off = pending.boot.power_off
        if off is not None and record.end_mono_ns > off.moment.mono_ns:
            mono, wall, by = off.moment.mono_ns, off.moment.wall_ns, pending.boot.off_by
            return replace(
                record, end_mono_ns=mono, end_wall_ns=wall, error="killed", exit_code=None, ended_by=by
            )
        if pending.inside is not None and record.exit_code and pending.ended_by is None:
            return replace(record, ended_by=pending.inside.ended_by())
        return replace(record, ended_by=pending.ended_by) if record.exit_code else record

    def _judge(self, step: Step) -> None:
        if step.id in self.unjudged:
            return
        for finding in self.judge(step):
            self.events.emit(finding)

    def _give_up(self, pending: Pending) -> CallRecord | RunRecord:
        if isinstance(pending.step, Call):
            self.bed.host(pending.step.at).cancel(pending.step.id)
        else:
            with suppress(AgentRefused):  # it has ended meanwhile
                self.signal(pending, "KILL", "")
        return self._with_its_end(pending, pending.future.result(_END_OF_CALL))

    def _of_dead_host(self, pending: Pending, error: AgentError) -> CallRecord | RunRecord:
        """What was under way on a host ends when its power goes; any other death is the lab's."""
        step = pending.step
        power_off = pending.boot.power_off
        if power_off is None:
            raise error
        started = pending.started
        off = power_off.moment
        end = max(started[0], off.mono_ns), max(started[1], off.wall_ns)
        if isinstance(step, Run):
            by = pending.boot.off_by
            return unheard_record(step.at, step.id, step.command, started, end, "killed", ended_by=by)
        return CallRecord(
            step=step.id,
            host=step.at,
            process=step.process,
            call=step.do,
            arguments=arguments(step),
            socket=getattr(step, "on", None) or getattr(step, "as_", None),
            fd=None,
            kind=None,
            start_mono_ns=started[0],
            end_mono_ns=end[0],
            start_wall_ns=started[1],
            end_wall_ns=end[1],
            error=CallError("killed", None, "the host lost its power"),
        )

    def finish(self) -> None:
        """Background calls that nobody awaited are awaited now; programs that go on are ended."""
        for name, pending in list(self.pending.items()):
            step = pending.step
            self.pending.pop(name)
            if isinstance(step, Run) and not pending.future.done():
                self._end_program(pending)
            elif self.failed() and not pending.future.done():
                self.events.emit(self._give_up(pending))
            else:
                self._awaited_at_the_end(pending)

    def _awaited_at_the_end(self, pending: Pending) -> None:
        try:
            self._end(pending, pending.step)
        except DeadlineExceeded as error:
            self.hangs(pending.step, str(error))

    def _end_program(self, pending: Pending) -> None:
        """A program in the background goes on for as long as the steps do; then it is asked to end."""
        step = pending.step
        try:
            with suppress(AgentRefused):  # it has ended meanwhile
                self.signal(pending, "TERM", "")
            record = pending.future.result(_END_OF_PROGRAM)
        except FutureTimeout:
            record = self._give_up(pending)
        except AgentError as error:
            record = self._of_dead_host(pending, error)
        record = self._with_its_end(pending, record)
        self.events.emit(record)
        if not self.failed():
            self._judge(step)

    def hangs(self, step: Step, reason: str) -> None:
        """Time ran out at a step: no record can tell that again, so it is a finding of its own."""
        name = f"{step.do}.timeout"
        finding = Finding(name, step.id, step.place, Verdict.FAIL, "an end in time", "none", reason=reason)
        self.events.emit(finding)


def _gone(host: str) -> Future[RunRecord]:
    """What becomes of a program on a host without power."""
    future: Future[RunRecord] = Future()
    future.set_exception(AgentError(f"{host} has no power"))
    return future


def _kept(record: CallRecord | RunRecord) -> CallRecord | RunRecord:
    """As the evidence keeps it: the beginning of received data, with the length and hash of all."""
    if isinstance(record, CallRecord) and record.data is not None and len(record.data) > KEPT_DATA:
        return replace(record, data=record.data[:KEPT_DATA])
    return record
