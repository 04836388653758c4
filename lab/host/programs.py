"""The programs of one host: containers beside its agent's, which share its network and nothing else.

A program can do anything to what it shares: signal it, lower its limits, fill its memory, edit its files. So
it shares no user, process, mount, cgroup or capability with the agent, its calls and tcpdump. There is one
container for each set of capabilities that the host's programs ask for; most hosts need that of none.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from lab.engine.base import ContainerSpec, Engine, Stream
from lab.engine.base import Limits as ContainerLimits
from lab.errors import AgentError, EngineError, LabError, UsageError
from lab.evidence.model import RunRecord
from lab.host.channel import AgentRefused, Channel, Event
from lab.host.convert import run_record
from lab.host.specs import Moment, RunSpec
from lab.limits import DEFAULT, Limits
from lab.policy import Policy

QUICK = 15.0  #: seconds for what takes milliseconds: only a broken or starved agent needs them
BRING_UP = 60.0  #: seconds from the start of a container to its ready agent
#: Seconds between two looks at what programs have written: the engine counts it in 2 to 5 ms.
LOOK = 1.0
#: A program that ended sooner has written too little to be looked at.
SHORT_NS = 100_000_000

Capabilities = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """A container for programs: its agent's stream, and what only the engine knows or does."""

    stream: Stream
    disk_used: Callable[[], int]
    kill: Callable[[], None]


Launch = Callable[[Capabilities], Started]


def launcher(
    engine: Engine,
    beside: str,
    running: threading.Event,
    *,
    image: str,
    name: str,
    labels: dict[str, str],
    limits: Limits,
    policy: Policy,
    outlives_lab: bool,
    opened: Callable[[Stream], None],
) -> Launch:
    """Starts containers for programs in the network namespace of container `beside`.

    They are created at once and start when `running` is set: it is, once `beside` runs or never will.
    `opened` hears of each stream, so that whoever takes the lab down can end it.
    """

    def launch(capabilities: Capabilities) -> Started:
        refused = [word for word in capabilities if word not in policy.capabilities]
        if refused:
            raise UsageError(f"{', '.join(refused)} is not allowed by policy.capabilities in lab.yml")
        spec = ContainerSpec(
            name="-".join((name, "programs", *(word.lower() for word in capabilities))),
            image=image,
            labels=labels,
            command=("lab-agent", "programs"),
            join=beside,
            capabilities=capabilities,
            ulimits={"core": 0},
            limits=ContainerLimits(limits.memory.bytes, limits.pids, limits.file_size.bytes),
            no_new_privileges=True,
            outlives_lab=outlives_lab,
        )
        container = engine.create(spec)
        stream = engine.attach(container)
        opened(stream)
        running.wait()
        engine.start(container)
        return Started(stream, lambda: engine.disk_used(container), lambda: engine.kill(container))

    return launch


class Programs:
    """All programs of one life of a host. Thread-safe; containers start when they are prepared or needed."""

    def __init__(self, host: str, launch: Launch, limits: Limits = DEFAULT) -> None:
        self._host, self._launch, self._limits = host, launch, limits
        self.heard: Callable[[Event], None] = lambda event: None  #: is told what the agents tell unasked
        self._lock = threading.Lock()
        self._rooms: dict[Capabilities, Future[_Room]] = {}
        self._live: list[_Room] = []  #: those whose container was started, ready or not
        self._of_step: dict[str, _Room] = {}
        self._cpu: int | None = None
        self._closed = False

    def prepare(self, needed: Iterable[Capabilities]) -> None:
        """Begins to start the containers of these capabilities, each in a thread; `wait_ready` ends it."""
        for capabilities in needed:
            self._room(capabilities)

    def wait_ready(self) -> None:
        """Raises what went wrong where a container that was prepared did not start."""
        with self._lock:
            rooms = list(self._rooms.values())
        for room in rooms:
            room.result(BRING_UP)

    def pin(self, number: int) -> None:
        """One CPU for all programs from now on, as `Host.pin` counts them."""
        with self._lock:
            self._cpu = number
            rooms = [room.result() for room in self._rooms.values() if room.done() and not room.exception()]
        for room in rooms:
            room.pin(number)

    def run(self, spec: RunSpec, open_files: int | None) -> Future[RunRecord]:
        room = self._room(spec.capabilities).result(BRING_UP)
        with self._lock:
            self._of_step[spec.step] = room
        return room.run(spec, open_files)

    def signal(self, step: str, signal: str) -> Moment:
        with self._lock:
            room = self._of_step.get(step)
        if room is None:
            raise AgentRefused(f"{self._host}: no program was started by step {step!r}", kind="run")
        return room.signal(step, signal)

    def cancel(self, step: str) -> int:
        with self._lock:
            room = self._of_step.get(step)
        return 0 if room is None else room.cancel(step)

    def close(self) -> None:
        """Ends all programs, with their containers. May be called twice."""
        self._end(kill=True)

    def leave(self) -> None:
        """Ends what the lab's side of them does; whoever removes the containers after this finds them all."""
        self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        with self._lock:
            self._closed = True
            live, opening = list(self._live), list(self._rooms.values())
        for room in live:
            room.close(kill=kill)
        wait(opening, BRING_UP)

    def _room(self, capabilities: Capabilities) -> Future[_Room]:
        with self._lock:
            if self._closed:
                raise AgentError(f"{self._host}: its programs have ended with it")
            future = self._rooms.get(capabilities)
            if future is None:
                future = self._rooms[capabilities] = Future()
                name = f"programs-{self._host}"
                threading.Thread(
                    target=self._open, args=(capabilities, future), name=name, daemon=True
                ).start()
            return future

    def _open(self, capabilities: Capabilities, future: Future[_Room]) -> None:
        try:
            started = self._launch(capabilities)
            with self._lock:
                room = _Room(self._host, started, self._limits, self.heard)
                self._live.append(room)
                closed = self._closed
            if closed:
                room.close(kill=True)
            room.wait_ready()
        except LabError as error:
            future.set_exception(error)
            return
        with self._lock:
            cpu = self._cpu
            future.set_result(room)
        if cpu is not None:
            room.pin(cpu)


class _Room:
    """One container for programs, and its agent."""

    def __init__(self, host: str, started: Started, limits: Limits, heard: Callable[[Event], None]) -> None:
        self._host, self._started, self._limits = host, started, limits
        self._channel = Channel(started.stream, f"programs of {host}", on_event=heard)
        self._full: str | None = None  #: what is said of all programs once the disk is
        #: What waits for a look at the disk: a program that ended, or None where one began.
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running = 0
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._watch, name=f"disk-{host}", daemon=True).start()

    def wait_ready(self) -> None:
        self._channel.wait_ready(BRING_UP)

    def pin(self, number: int) -> None:
        self._channel.request("pin", timeout=QUICK, number=number)

    def run(self, spec: RunSpec, open_files: int | None) -> Future[RunRecord]:
        """Its record. Where it, or another program of the host, runs into a limit, `error` says so."""
        target: Future[RunRecord] = Future()
        target.set_running_or_notify_cancel()
        began = time.monotonic_ns(), time.time_ns()
        with self._lock:
            self._running += 1
        self._events.put(None)
        source = self._channel.submit(
            "run",
            step=spec.step,
            argv=list(spec.argv),
            stdin=spec.stdin,
            timeout_ns=None if spec.timeout is None else spec.timeout.ns,
            open_files=open_files,
            output=self._limits.logs.bytes,
        )

        def settle() -> None:
            with self._lock:
                self._running -= 1
            try:
                raw = source.result()
                record = run_record(self._host, spec, raw, self._told(raw))
            except AgentError as error:
                if self._full is None:
                    target.set_exception(error)
                    return
                record = _ended(self._host, spec, began, self._full)
            except (KeyError, TypeError, ValueError) as nonsense:
                target.set_exception(
                    AgentError(f"programs of {self._host}: the reply makes no sense: {nonsense!r}")
                )
                return
            target.set_result(record)

        def done(_: Future[Any]) -> None:
            if self._closed or time.monotonic_ns() - began[0] < SHORT_NS:
                settle()
            else:
                self._events.put(settle)

        source.add_done_callback(done)
        return target

    def signal(self, step: str, signal: str) -> Moment:
        raw = self._channel.request("signal_run", timeout=QUICK, step=step, signal=signal)
        return Moment(raw["wall_ns"], raw["mono_ns"])

    def cancel(self, step: str) -> int:
        return int(self._channel.request("cancel", timeout=QUICK, step=step))

    def close(self, *, kill: bool) -> None:
        self._closed = True
        self._events.put(None)
        if kill:
            self._started.kill()
        self._channel.close()

    def _told(self, raw: dict[str, Any]) -> str | None:
        return next((self._limits.reached(word, self._host) for word in raw["limits"]), self._full)

    def _watch(self) -> None:
        """Looks at the disk while programs run, and before each record is handed out."""
        while True:
            settle: Callable[[], None] | None = None
            with contextlib.suppress(queue.Empty):
                settle = self._events.get(timeout=LOOK if self._running else None)
            if settle is not None or self._running:
                self._look()
            if settle is not None:
                settle()
            if self._closed and not self._running:
                return

    def _look(self) -> None:
        if self._closed or self._full is not None:
            return
        try:
            if self._started.disk_used() > self._limits.disk.bytes:
                self._full = self._limits.reached("disk", self._host)
                self._started.kill()
        except EngineError:
            return  # the container has ended, and says so itself


def _ended(host: str, spec: RunSpec, began: tuple[int, int], error: str) -> RunRecord:
    """Of a program that ended with its container: what it printed went with it."""
    return RunRecord(
        step=spec.step,
        host=host,
        command=tuple(spec.argv),
        exit_code=None,
        stdout="",
        stderr="",
        start_mono_ns=began[0],
        end_mono_ns=time.monotonic_ns(),
        start_wall_ns=began[1],
        end_wall_ns=time.time_ns(),
        error=error,
    )
