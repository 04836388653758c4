"""Carries out steps on a running lab: each `do` is one entry of a table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from lab.clock import Deadline
from lab.errors import AgentError, CannotBeDone, DeadlineExceeded, LabEnvironmentError, LabError
from lab.evidence.model import CallRecord, RunRecord, StepRecord
from lab.host.channel import AgentRefused
from lab.link import Link
from lab.scenario.calls import Call, Step
from lab.scenario.steps import (
    STEPS,
    Await,
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
    Stop,
    WaitFor,
)
from lab.session.calls import Calls
from lab.session.events import Events, StepBegan
from lab.session.interrupt import Interrupt
from lab.session.services import not_ready
from lab.session.signals import sent_by
from lab.session.testbed import Testbed
from lab.verdict import Finding, Verdict

#: Why an agent refuses what a scenario asks for: a name that is taken, a process or a program that is gone.
_CANNOT_BE_DONE = frozenset({"name", "process", "run"})
_NEEDS_POWER = (Kill, Pause, Power, Resume, Start, Stop, WaitFor)


@dataclass
class Executor:
    """Steps, one after another or from several threads. Thread-safe as far as the steps are."""

    bed: Testbed
    events: Events
    calls: Calls
    interrupt: Interrupt
    ends: dict[str, int] = field(default_factory=dict)  #: when each step ended, on the wall clock
    calls_at: Callable[[str], bool] = lambda host: True  #: whether a step makes socket calls at this host
    states_after: Collection[str] = ()  #: the ids of steps at whose ends the states of all sockets are read

    @property
    def deadline(self) -> Deadline:
        """When a step that still waits is given up."""
        return self.calls.deadline

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
            self.calls.hangs(step, str(error))
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
            self.interrupt.check()  # an interrupt ends the channels: report it, not its consequence
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
        """Reads the states of all sockets if somebody asks for them at the end of this step."""
        ended = step.awaits if isinstance(step, Await) else step.id
        if ended in self.states_after and ended not in self.calls.pending:
            for host in self.bed.on().values():
                for sample in host.final_states():
                    self.events.emit(replace(sample, final=False, step=ended))

    def _cannot(self, step: Step, refused: LabError) -> None:
        """What the step asks for cannot be done as things are: the scenario's failure, not the lab's."""
        name = f"{step.do}.refused"
        wanted, got = "a step that can be done", "refused"
        reason = f"{refused}; {refused.hint}" if refused.hint else str(refused)
        self.events.emit(Finding(name, step.id, step.place, Verdict.FAIL, wanted, got, reason=reason))

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
        elif (pending := self.calls.pending.get(step.run)) is not None:
            self.calls.signal(pending, name, step.id)
        else:
            self.bed.host(step.at).signal_run(step.run, name)

    def _means_service(self, step: Kill | Pause | Resume) -> bool:
        """A step that names nothing means the host's socket calls, or its only service if it makes none."""
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
                    return  # another could not start: that is reported
                self.step(inner)

            try:
                futures = [pool.submit(start, inner) for inner in step.steps]
            except RuntimeError as exhausted:  # no more threads; those that wait for it would wait forever
                barrier.abort()
                raise LabEnvironmentError(
                    f"{step.place}: {step.path}: {len(step.steps):,} steps need a thread each: {exhausted}",
                    hint="write fewer steps into the parallel, or raise the limit of threads (`ulimit -u`)",
                ) from exhausted
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]


#: Every `do` that the lab carries out; one that it does not yet support is refused when the scenario loads.
ACTIONS: dict[type[Step], Callable[[Executor, Any], CallRecord | RunRecord | None]] = {
    **{
        cls: lambda executor, step: executor.calls.call(step)
        for cls in STEPS.values()
        if issubclass(cls, Call)
    },
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
    Run: lambda executor, step: executor.calls.program(step),
    Await: lambda executor, step: executor.calls.awaits(step),
    Sleep: Executor.sleep,
    WaitFor: Executor.wait_for,
    Parallel: Executor.parallel,
}
