"""One service of one host: its containers, from start to end, what the lab waits for, and its record."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from lab.clock import SYSTEM_CLOCK, Deadline
from lab.engine.base import ContainerSpec, ContainerStatus, Engine, OutputMeter
from lab.engine.service import stop
from lab.errors import CannotBeDone, DeadlineExceeded, EngineError, LabError
from lab.evidence.model import LogRecord, ServiceRecord
from lab.evidence.services import how_it_ended
from lab.host import Host, RunSpec
from lab.limits import Limits
from lab.scenario.services import Condition, Ready, ServiceSpec
from lab.session.inside import Inside, Signaller
from lab.session.interrupt import Interrupt
from lab.session.service_log import LINES, ServiceLog
from lab.session.service_words import goal_of, hint_of, start_error, what_listens
from lab.session.signals import ENDING, name_of

_LOOK = 0.05  #: seconds between two questions to the engine, which tells nobody when a health check is done
_FOR_EVER = 86_400.0  #: seconds: a container is waited for until it ends, and it ends with its lab


class NotReady(LabError):
    """A service that did not get ready in time, or ended first. `goal`, `status` and the text say why."""

    def __init__(self, spec: ServiceSpec, text: str, *, goal: str, status: str, hint: str) -> None:
        super().__init__(text, hint=hint)
        self.goal = goal
        self.status = status
        at = spec.ready if spec.ready is not None and spec.ready.path else spec
        self.place, self.path = at.place, at.path


@dataclass
class _Started:
    """One start of a service."""

    record: ServiceRecord
    container: str
    log: ServiceLog | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    #: Other signals that it received, and the steps that sent them.
    signals: dict[str, str] = field(default_factory=dict)
    metering: threading.Thread | None = None
    power_off_ns: int | None = None  #: when its host lost its power


@dataclass
class Service:
    """A service and its starts, the last of which may run. `make` gives the container of a new start.

    Thread-safe as far as steps are: two that start or end the same service at once are the scenario's fault.
    """

    host: str
    spec: ServiceSpec
    image: str
    engine: Engine
    interrupt: Interrupt
    may_end: bool
    make: Callable[[int], ContainerSpec]
    fill: Callable[[str, str | None], None]  #: puts files into a new container; the one before it, if any
    signaller: Signaller
    limits: Limits
    starts: list[_Started] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """Its name for people: `web`, or `web/worker`."""
        return self.host if self.spec.name == self.host else f"{self.host}/{self.spec.name}"

    @property
    def last(self) -> _Started | None:
        return self.starts[-1] if self.starts else None

    @property
    def running(self) -> bool:
        return self.last is not None and not self.last.ended.is_set()

    @property
    def container(self) -> str:
        """Of the start that runs. Raises `CannotBeDone` where none does."""
        if self.last is None or self.last.ended.is_set():
            state = "was not started" if self.last is None else "has ended"
            raise CannotBeDone(f"{self.name} {state}", hint="start it first, by `start`")
        return self.last.container

    # --- starting ---

    def start(self) -> None:
        """A fresh container, running; its log is followed and its end awaited.

        Raises `NotReady`, or `CannotBeDone` where it runs already.
        """
        if self.running:
            raise CannotBeDone(f"{self.name} runs already", hint="end it first, by `stop` or `kill`")
        number = len(self.starts) + 1
        before = self.last.container if self.last is not None else None
        container = self.engine.create(self.make(number))
        started = _Started(
            ServiceRecord(self.host, self.spec.name, number, self.image, may_end=self.may_end), container
        )
        self.fill(container, before)
        self.starts.append(started)
        meter = self.engine.meter(container)
        try:
            self.engine.start(container)
        except EngineError as error:
            meter.close()
            status = self.engine.inspect(container)
            started.record = replace(started.record, error=start_error(status.error or str(error)))
            started.ended.set()
            raise self._not_ready(f"it could not be started: {started.record.error}", "a start") from error
        finally:
            self.begun.set()
        started.log = ServiceLog(
            self.host,
            self.spec.name,
            number,
            self.engine.logs(container, follow=True),
            lambda last: self.engine.logs(container, last=last),
        )
        started.record = replace(started.record, started_wall_ns=self.engine.inspect(container).started_ns)
        name = f"{self.host}-{self.spec.name}"
        started.metering = threading.Thread(
            target=self._measure, args=(started, meter), name=f"output-{name}", daemon=True
        )
        started.metering.start()
        threading.Thread(target=self._await_end, args=(started,), name=f"end-{name}", daemon=True).start()

    def _measure(self, started: _Started, meter: OutputMeter) -> None:
        """Counts what it writes, to the limit."""
        room = self.limits.logs.bytes
        while room >= 0 and (written := meter.read()) is not None:
            room -= written
        meter.close()
        if room < 0:
            self._over(started, "logs")

    def _await_end(self, started: _Started) -> None:
        try:
            self.engine.wait(started.container, _FOR_EVER)
            self._note_end(started, self.engine.inspect(started.container))
        except EngineError:
            pass  # it was removed with its lab; whoever did that noted its end before
        finally:
            started.ended.set()

    def _note_end(self, started: _Started, status: ContainerStatus) -> None:
        if not status.running and started.record.ended_wall_ns is None:
            by = started.signals.get(name_of(status.signal)) if status.signal else None
            started.record = replace(
                started.record,
                ended_wall_ns=status.finished_ns,
                exit_code=status.exit_code,
                signal=status.signal,
                out_of_memory=status.oom_killed,
                limit=self.limits.reached("memory", self.name) if status.oom_killed else started.record.limit,
                health=status.health,
                ended_by=started.record.ended_by if by is None else by,
            )

    def wait_ready(self, host: Host, deadline: Deadline) -> None:
        """Waits until what `ready` asks for is there, or its healthcheck says so, or it merely runs.

        Raises `NotReady` with goal, limit, status and last output.
        """
        started = self.starts[-1]
        ready = self.spec.ready or self._by_default(started)
        limit = deadline.sooner(ready.timeout.seconds, f"{self.name}: ready")
        if not self._is_ready(ready, started, host, limit):
            self.interrupt.check()
            goal = goal_of(ready)
            ended = started.ended.is_set()
            why = "it ended before it was ready" if ended else f"it was not ready within {ready.timeout}"
            if not ended and started.log is not None and started.log.cut and ready.kind == "log":
                why = f"none of the first {LINES:,} lines of its log says that it is ready"
            there = what_listens(host, ended) if ready.kind == "listening" else ""
            raise self._not_ready(f"{why} (wanted: {goal})", goal, ready, there)
        started.record = replace(started.record, ready_wall_ns=SYSTEM_CLOCK.wall_ns())
        self.ready.set()

    def _by_default(self, started: _Started) -> Ready:
        health = self.engine.inspect(started.container).health
        return Ready("healthcheck") if health is not None else Ready("running")

    def _is_ready(self, ready: Ready, started: _Started, host: Host, limit: Deadline) -> bool:
        match ready.kind:
            case "listening":
                return self._until(started, limit, lambda: _listens(host, ready.listening, limit))
            case "log":
                assert ready.log is not None
                assert started.log is not None
                return started.log.wait_for(ready.log, limit, stop=self._interrupted) is not None
            case "healthcheck":
                return self._until(
                    started, limit, lambda: self.engine.inspect(started.container).health == "healthy"
                )
            case "command":
                return self._until(started, limit, lambda: self._succeeds(started, ready, limit))
            case "exit":
                started.ended.wait(limit.timeout())
                return started.ended.is_set() and started.record.exit_code == ready.exit
            case "running":
                return not started.ended.is_set() or self.may_end

    def _interrupted(self) -> bool:
        return self.interrupt.reason is not None

    def _until(self, started: _Started, limit: Deadline, true: Callable[[], bool]) -> bool:
        while not limit.expired() and not started.ended.is_set():
            self.interrupt.check()
            if true():
                return True
            self.interrupt.wait(min(_LOOK, limit.remaining()))
        return False

    def _succeeds(self, started: _Started, ready: Ready, limit: Deadline) -> bool:
        try:
            done = self.engine.exec(started.container, ready.command, timeout=max(limit.remaining(), 0.1))
        except EngineError:
            if started.ended.is_set() or limit.expired():
                return False
            raise
        return done.exit_code == 0

    def _not_ready(self, why: str, goal: str, ready: Ready | None = None, there: str = "") -> NotReady:
        status = self.status() + there
        started = self.starts[-1]
        tail = started.log.tail() if started.log is not None else ""
        output = f"; its last output:\n{tail}" if tail else "; it wrote nothing"
        text = f"{self.name}: {why}" + ("" if started.record.error else f"; {status}{output}")
        started.record = replace(started.record, not_ready=text)
        return NotReady(
            self.spec,
            text,
            goal=goal,
            status=status,
            hint=hint_of(
                ready,
                refused=started.record.error != "",
                ended=started.ended.is_set(),
                over=started.record.limit != "",
            ),
        )

    def status(self) -> str:
        """What happened to its last start, for people."""
        last = self.last
        if last is None:
            return "it was not started"
        record = last.record
        if record.error:
            return "it could not be started"
        if not last.ended.is_set():
            return f"it runs{self._health(last)}"
        return how_it_ended(record)

    def _health(self, started: _Started) -> str:
        """What its healthcheck says, and what that printed last."""
        try:
            status = self.engine.inspect(started.container)
        except EngineError:
            return ""  # it was removed at this moment
        if status.health is None:
            return ""
        said = status.health_output.strip().splitlines()
        return f", {status.health}" + (f"; its last check said: {said[-1]}" if said else "")

    def wait_for(self, condition: Condition, deadline: Deadline) -> bool:
        """Waits until it has got as far as another service wants; False if it will not, or time runs out."""
        if not self._event(self.begun, deadline):
            return False
        started = self.starts[-1] if self.starts else None
        if condition == "service_started" or started is None:
            return started is not None
        if condition == "service_completed_successfully":
            return self._event(started.ended, deadline) and started.record.exit_code == 0
        return self._until(
            started, deadline, lambda: self.engine.inspect(started.container).health == "healthy"
        )

    def _event(self, event: threading.Event, deadline: Deadline) -> bool:
        while not event.wait(min(_LOOK, deadline.remaining())):
            self.interrupt.check()
            if deadline.expired():
                return False
        return True

    # --- ending ---

    def stop(self, step: str) -> None:
        """Sends its stop signal and, after the grace period, KILL; returns when it has ended."""
        if not self.running:
            return
        started = self.starts[-1]
        started.record = replace(started.record, ended_by=step)
        stop(self.engine, started.container, self.spec.stop_signal, self.spec.stop_grace_period.seconds)
        started.ended.wait(5.0)

    def kill(self, step: str, name: str = "KILL") -> None:
        """Sends a signal to all its processes. After KILL it waits for the end, for at most 5 s."""
        started, container = self.starts[-1], self.container
        if name in ENDING or name == self._stop_signal(container):
            started.record = replace(started.record, ended_by=step)
        else:
            started.signals[name] = step
        self.engine.kill(container, name)
        if name == "KILL":
            started.ended.wait(5.0)

    def _stop_signal(self, container: str) -> str:
        return (self.spec.stop_signal or self.engine.inspect(container).stop_signal).removeprefix("SIG")

    def power_off(self, step: str, wall_ns: int) -> None:
        """It ends with its host: nothing that it wrote after this moment was ever written."""
        if not self.running:
            return
        started = self.starts[-1]
        self.kill(step)
        started.power_off_ns = wall_ns
        started.record = replace(started.record, ended_wall_ns=wall_ns)

    def pause(self) -> None:
        self.engine.pause(self.container)

    def resume(self) -> None:
        self.engine.unpause(self.container)

    def run(self, spec: RunSpec) -> Inside:
        """A program in its container, begun. Raises `LabError` where it does not run."""
        container, started = self.container, self.starts[-1]
        inside = Inside(
            self.host,
            self.name,
            container,
            spec,
            self.engine,
            self.signaller,
            lambda: started.record.ended_by,
        )
        return inside.start()

    def _over(self, started: _Started, word: str) -> None:
        """It has reached a limit: it ends, where it has not ended by itself, and its record says which."""
        if started.record.limit:
            return
        started.record = replace(started.record, limit=self.limits.reached(word, self.name))
        if not started.ended.is_set():
            with contextlib.suppress(EngineError):  # it ends at this moment
                self.engine.kill(started.container)

    def look(self) -> None:
        """Whether it has written more over its image than it may, or has as many processes as it may."""
        if not self.running:
            return
        started = self.starts[-1]
        try:
            if self.engine.disk_used(started.container) > self.limits.disk.bytes:
                self._over(started, "disk")
            elif self.engine.processes(started.container) >= self.limits.pids:
                self._over(started, "pids")
        except EngineError:
            return  # it has ended, and says so itself

    # --- evidence ---

    def records(self) -> tuple[ServiceRecord, ...]:
        """The records of every start. One that still runs has no end."""
        found = []
        for started in self.starts:
            if started.log is not None:
                started.log.catch_up()
            if started.metering is not None and started.ended.is_set():
                started.metering.join(5.0)
            if started.record.limit:
                started.ended.wait(5.0)
            status = None
            if not started.ended.is_set():
                status = self.engine.inspect(started.container)
                self._note_end(started, status)
            cut = started.log is not None and started.log.cut
            health = status.health if status is not None else started.record.health
            found.append(replace(started.record, log_cut=cut, health=health))
        return tuple(found)

    def lines(self) -> tuple[LogRecord, ...]:
        return tuple(
            line
            for started in self.starts
            if started.log
            for line in started.log.lines()
            if started.power_off_ns is None or line.wall_ns <= started.power_off_ns
        )


def _listens(host: Host, port: int | None, limit: Deadline) -> bool:
    try:
        host.wait_for(min(0.25, max(limit.remaining(), 0.001)), listening=port)
    except DeadlineExceeded:
        return False
    return True
