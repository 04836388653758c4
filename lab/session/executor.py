"""Does steps on what stands: each `do` is one entry of a table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from lab.clock import Deadline
from lab.errors import AgentError, CannotBeDone, DeadlineExceeded, LabEnvironmentError, LabError
from lab.evidence.model import KEPT_DATA, CallError, CallRecord, RunRecord, StepRecord
from lab.host import CallSpec, RunSpec
from lab.host.channel import AgentRefused
from lab.link import Link
from lab.scenario.steps import (
    STEPS,
    Await,
    Call,
    Cut,
    Drop,
    Heal,
    Kill,
    LinkStep,
    Parallel,
    Partition,
    Pause,
    Power,
    Restore,
    Resume,
    Run,
    Sleep,
    Start,
    Step,
    Stop,
    WaitFor,
)
from lab.session.arguments import arguments
from lab.session.events import Events, StepBegan
from lab.session.inside import Inside
from lab.session.interrupt import Interrupt
from lab.session.plan import identity_of
from lab.session.service import Service
from lab.session.services import not_ready
from lab.session.signals import sent_by
from lab.session.testbed import Boot, Testbed
from lab.verdict import Finding, Verdict

_END_OF_PROGRAM = 2.0  #: seconds that a program which is still running after the steps gets to end on SIGTERM
#: Signals that end no program that does nothing about them.
_HARMLESS = frozenset({"CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"})
#: Why an agent refuses what a scenario asks for: a name that is taken, a process or a program that is gone.
_CANNOT_BE_DONE = frozenset({"name", "process", "run"})
_NEEDS_POWER = (Kill, Pause, Power, Resume, Start, Stop, WaitFor)
_END_OF_CALL = 5.0  #: seconds for the record of a call that was cancelled

#: Says of a step that has ended what its `expect` makes of it.
Judge = Callable[[Step], tuple[Finding, ...]]


@dataclass
class Pending:
    """A call or a program that goes on in the background."""

    step: Call | Run
    future: Future[CallRecord] | Future[RunRecord]
    boot: Boot  #: of the host, when it was begun
    inside: Inside | None = None  #: of a program that runs in a service
    ended_by: str | None = None  #: id of the step that sent a signal which may end it; "" is the lab
    started: tuple[int, int] = field(default_factory=lambda: (time.monotonic_ns(), time.time_ns()))


@dataclass
class Executor:
    """Steps, one after another or from several threads. Thread-safe as far as the steps are."""

    bed: Testbed
    events: Events
    judge: Judge
    failed: Callable[[], bool]  #: whether a finding so far says that the lab's user was disappointed
    interrupt: Interrupt
    deadline: Deadline
    pending: dict[str, Pending] = field(default_factory=dict)
    unjudged: set[str] = field(default_factory=set)  #: steps of which nothing is expected
    whole: set[str] = field(default_factory=set)  #: calls of which all data is wanted, not only its beginning
    ends: dict[str, int] = field(default_factory=dict)  #: when each step ended, on the wall clock
    calls_at: Callable[[str], bool] = lambda host: True  #: whether a step makes socket calls at this host
    states_after: Collection[str] = ()  #: the ids of steps at whose ends the states of all sockets are read

    def step(self, step: Step) -> CallRecord | RunRecord | None:
        """One step and its verdict; the record of the call or the program that ended with it.

        Raises `LabError` where the lab itself breaks.
        """
        self.interrupt.check()
        mono, wall = time.monotonic_ns(), time.time_ns()
        self.events.emit(StepBegan(step.id, step.do, step.place))
        at = getattr(step, "at", None) or getattr(step, "host", None)
        try:
            self.deadline.check()
            self._has_power(step)
            record = ACTIONS[type(step)](self, step)
            self._read_states(step)
            return record
        except DeadlineExceeded as error:
            self._hangs(step, str(error))
            return None
        except CannotBeDone as error:
            self._cannot(step, error)
            return None
        except AgentRefused as refused:
            if refused.kind not in _CANNOT_BE_DONE:
                self.interrupt.check()
                raise
            self._cannot(step, refused)
            return None
        except AgentError:
            self.interrupt.check()  # an interrupt ends the channels: say that, not its consequence
            raise
        finally:
            end_wall, end_mono = time.time_ns(), time.monotonic_ns()
            ended = StepRecord(
                step.id, step.do, step.place, at, wall, end_wall, mono, end_mono, *sent_by(step)
            )
            self.ends[step.id] = end_wall
            self.events.emit(ended)

    def _has_power(self, step: Step) -> None:
        """Raises `CannotBeDone` where a host without power is asked for more than to be switched on.

        A call or a program there has a record, which says that it was killed.
        """
        if isinstance(step, _NEEDS_POWER) and step.at in self.bed.off and getattr(step, "state", "") != "on":
            raise CannotBeDone(
                f"{step.at} has no power", hint="switch it on first, by `power` with `state: on`"
            )

    def _read_states(self, step: Step) -> None:
        """Where somebody asks how the sockets are when this step has ended: reads them."""
        ended = step.awaits if isinstance(step, Await) else step.id
        if ended in self.states_after and ended not in self.pending:
            for host in self.bed.on().values():
                for sample in host.final_states():
                    self.events.emit(replace(sample, final=False, step=ended))

    def _cannot(self, step: Step, refused: LabError) -> None:
        """What the step asks for cannot be done as things are: the scenario's failure, and not the lab's."""
        name = f"{step.do}.refused"
        wanted, got = "a step that can be done", "refused"
        reason = f"{refused}; {refused.hint}" if refused.hint else str(refused)
        self.events.emit(Finding(name, step.id, step.place, Verdict.FAIL, wanted, got, reason=reason))

    def _hangs(self, step: Step, reason: str) -> None:
        """Time ran out at a step: no record can tell that again, so it is a finding of its own."""
        name = f"{step.do}.timeout"
        finding = Finding(name, step.id, step.place, Verdict.FAIL, "an end in time", "none", reason=reason)
        self.events.emit(finding)

    # --- socket calls and programs ---

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
        """The record of a program that was to run in a service which does not run."""
        wall, mono = time.time_ns(), time.monotonic_ns()
        error = f"{step.command[0]} could not be started in {service.name}: {service.status()}"
        record = RunRecord(
            step.id, step.at, tuple(step.command), None, "", "", mono, mono, wall, wall, error, service.name
        )
        self.events.emit(record)
        self._judge(step)
        return record

    def _signal_program(self, pending: Pending, name: str, by: str) -> None:
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
        """Awaits a background step of which nothing is expected."""
        pending = self.pending.pop(name)
        self.unjudged.add(name)
        return self._end(pending, pending.step)

    def _end(self, pending: Pending, by: Step) -> CallRecord | RunRecord:
        """Waits for a call or a program and judges it; one that hangs is given up and recorded as that."""
        try:
            record = self._result(pending.future, self.deadline.timeout())
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

    def _result(
        self, future: Future[CallRecord] | Future[RunRecord], timeout: float | None
    ) -> CallRecord | RunRecord:
        return future.result(timeout)

    def _give_up(self, pending: Pending) -> CallRecord | RunRecord:
        if isinstance(pending.step, Call):
            self.bed.host(pending.step.at).cancel(pending.step.id)
        else:
            with suppress(AgentRefused):  # it has ended meanwhile
                self._signal_program(pending, "KILL", "")
        return self._with_its_end(pending, self._result(pending.future, _END_OF_CALL))

    def _of_dead_host(self, pending: Pending, error: AgentError) -> CallRecord | RunRecord:
        """What was under way on a host when its power went ends with it; any other death is the lab's."""
        step = pending.step
        power_off = pending.boot.power_off
        if power_off is None:
            raise error
        started = pending.started
        end = tuple(map(max, started, (power_off.moment.mono_ns, power_off.moment.wall_ns)))
        if isinstance(step, Run):
            return RunRecord(
                step=step.id,
                host=step.at,
                command=tuple(step.command),
                exit_code=None,
                stdout="",
                stderr="",
                start_mono_ns=started[0],
                end_mono_ns=end[0],
                start_wall_ns=started[1],
                end_wall_ns=end[1],
                error="killed",
                ended_by=pending.boot.off_by,
            )
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
            self._hangs(pending.step, str(error))

    def _end_program(self, pending: Pending) -> None:
        """A program in the background goes on for as long as the steps do; then it is asked to end."""
        step = pending.step
        try:
            with suppress(AgentRefused):  # it has ended meanwhile
                self._signal_program(pending, "TERM", "")
            record = self._result(pending.future, _END_OF_PROGRAM)
        except FutureTimeout:
            with suppress(AgentRefused):
                self._signal_program(pending, "KILL", "")
            record = self._result(pending.future, _END_OF_CALL)
        except AgentError as error:
            record = self._of_dead_host(pending, error)
        record = self._with_its_end(pending, record)
        self.events.emit(record)
        if not self.failed():
            self._judge(step)

    # --- the wire ---

    def link(self, step: LinkStep) -> None:
        up, down = step.changes()
        link = self.bed.wire.links[step.host]
        changed = Link(
            link.up.changed(up) if up is not None else link.up,
            link.down.changed(down) if down is not None else link.down,
        )
        self.bed.wire.change(step.host, changed, step=step.id)

    def cut(self, step: Cut) -> None:
        self.bed.wire.cut(step.host, step.direction, step=step.id)

    def restore(self, step: Restore) -> None:
        self.bed.wire.restore(step.host, step.direction, step=step.id)

    def partition(self, step: Partition) -> None:
        a, b = step.between
        self.bed.wire.partition(a, b, step=step.id)

    def heal(self, step: Heal) -> None:
        a, b = step.between
        self.bed.wire.heal(a, b, step=step.id)

    def drop(self, step: Drop) -> None:
        self.bed.wire.drop(step.from_, step.to, step.match.value, step.count, step=step.id)

    # --- processes and hosts ---

    def signal(self, step: Kill | Pause | Resume) -> None:
        if step.service is not None or self._means_service(step):
            self._signal_service(step, step.service)
            return
        _, name = sent_by(step)
        assert name is not None
        if step.run is None:
            self.bed.host(step.at).signal(step.process or "main", name)
        elif (pending := self.pending.get(step.run)) is not None:
            self._signal_program(pending, name, step.id)
        else:
            self.bed.host(step.at).signal_run(step.run, name)

    def _means_service(self, step: Kill | Pause | Resume) -> bool:
        """What names nothing means the host's socket calls, and its only service where it makes none."""
        if step.process is not None or step.run is not None or self.calls_at(step.at):
            return False
        return len(self.bed.services.on(step.at)) == 1

    def power(self, step: Power) -> None:
        if step.state == "off":
            self.bed.power_off(step.at, step.id)
        elif step.at in self.bed.off:
            self.bed.power_on(step.at, step.id)
            self._start([key for key in self.bed.services.first() if key[0] == step.at], step)

    # --- services ---

    def start(self, step: Start) -> None:
        service = self.bed.services.of(step.at, step.service)
        self._start([(step.at, service.spec.name)], step)

    def _start(self, keys: list[tuple[str, str]], step: Step) -> None:
        for error in self.bed.services.start(keys, self.deadline):
            self.events.emit(not_ready(error, step.id, step.place))

    def stop(self, step: Stop) -> None:
        self.bed.services.of(step.at, step.service).stop(step.id)

    def _signal_service(self, step: Kill | Pause | Resume, name: str | None) -> None:
        service = self.bed.services.of(step.at, name)
        match step:
            case Kill():
                service.kill(step.id, step.signal)
            case Pause():
                service.pause()
            case Resume():
                service.resume()

    def _wait_for_line(self, step: WaitFor, limit: Deadline) -> None:
        assert step.log is not None
        service = self.bed.services.of(step.at, step.service)
        log = service.last.log if service.last is not None else None
        since = self.ends.get(step.after, 0) if step.after is not None else 0
        line = None
        if log is not None:
            line = log.wait_for(step.log, limit, since, lambda: self.interrupt.reason is not None)
        self.interrupt.check()
        if line is None:
            tail = log.tail() if log is not None else ""
            said = f"; its last output:\n{tail}" if tail else ""
            raise DeadlineExceeded(
                f"{service.name}: no line of its log matches {step.log}; {service.status()}{said}"
            )

    # --- waiting ---

    def sleep(self, step: Sleep) -> None:
        seconds = min(step.for_.seconds, self.deadline.remaining())
        self.interrupt.wait(seconds)
        self.deadline.check()

    def wait_for(self, step: WaitFor) -> None:
        limit = self.deadline
        if step.timeout is not None:
            limit = limit.sooner(step.timeout.seconds, "wait_for")
        if step.log is not None:
            self._wait_for_line(step, limit)
            return
        self.bed.host(step.at).wait_for(
            limit.remaining(), listening=step.listening, state=step.state, port=step.port
        )

    def parallel(self, step: Parallel) -> None:
        """All inner steps start together, each in a thread; an error of the lab is raised at the end."""
        with ThreadPoolExecutor(len(step.steps), thread_name_prefix="parallel") as pool:
            barrier = threading.Barrier(len(step.steps))

            def start(inner: Step) -> None:
                try:
                    barrier.wait(self.deadline.remaining())
                except threading.BrokenBarrierError:
                    self.deadline.check()
                    return  # another could not start: that is told
                self.step(inner)

            try:
                futures = [pool.submit(start, inner) for inner in step.steps]
            except RuntimeError as exhausted:  # no more threads; those that wait for it would wait for ever
                barrier.abort()
                raise LabEnvironmentError(
                    f"{step.place}: {step.path}: {len(step.steps):,} steps need a thread each: {exhausted}",
                    hint="write fewer steps into the parallel, or raise the limit of threads (`ulimit -u`)",
                ) from exhausted
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]


def _gone(host: str) -> Future[RunRecord]:
    """What becomes of a program on a host without power."""
    future: Future[RunRecord] = Future()
    future.set_exception(AgentError(f"{host} has no power"))
    return future


def _kept(record: CallRecord | RunRecord) -> CallRecord | RunRecord:
    """As the evidence keeps it: of received data the beginning, with length and hash of all."""
    if isinstance(record, CallRecord) and record.data is not None and len(record.data) > KEPT_DATA:
        return replace(record, data=record.data[:KEPT_DATA])
    return record


#: Every `do` that the lab carries out; those that it does not yet are refused when the scenario is loaded.
ACTIONS: dict[type[Step], Callable[[Executor, Any], CallRecord | RunRecord | None]] = {
    **{cls: Executor.call for cls in STEPS.values() if issubclass(cls, Call)},
    LinkStep: Executor.link,
    Cut: Executor.cut,
    Restore: Executor.restore,
    Partition: Executor.partition,
    Heal: Executor.heal,
    Drop: Executor.drop,
    Kill: Executor.signal,
    Pause: Executor.signal,
    Resume: Executor.signal,
    Power: Executor.power,
    Start: Executor.start,
    Stop: Executor.stop,
    Run: Executor.program,
    Await: Executor.awaits,
    Sleep: Executor.sleep,
    WaitFor: Executor.wait_for,
    Parallel: Executor.parallel,
}
