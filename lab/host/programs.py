"""The programs of one host: containers beside its agent's, which share its network and nothing else.

A program can do anything to what it shares: signal it, lower its limits, fill its memory, edit its files. So
it shares no user, process, mount, cgroup or capability with the agent, its calls and tcpdump. There is one
container for each identity (capabilities and user) that the host's programs ask for; most hosts need one.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import Any

from msgspec import Struct

from lab.engine.base import ContainerSpec, Engine, Stream
from lab.engine.base import Limits as ContainerLimits
from lab.errors import AgentError, EngineError, LabError, UsageError
from lab.evidence.model import RunRecord
from lab.host.channel import AgentRefused, Channel, Event
from lab.host.convert import limits_hit, moment, run_record, unheard_record
from lab.host.reply import Nonsense, Reply, sensible
from lab.host.specs import Identity, Moment, RunSpec
from lab.limits import DEFAULT, Limits
from lab.policy import Policy

QUICK = 15.0  #: seconds for what takes milliseconds: only a broken or starved agent needs them
BRING_UP = 60.0  #: seconds from the start of a container to its ready agent
#: Seconds between two checks of what programs have written: the engine counts it in 2 to 5 ms.
LOOK = 1.0
#: A program that ended sooner has written too little to be looked at.
SHORT_NS = 100_000_000


class Started(Struct, frozen=True):
    """A container for programs: its agent's stream, and what only the engine knows or does."""

    stream: Stream
    disk_used: Callable[[], int]
    kill: Callable[[], None]


Launch = Callable[[Identity], Started]


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
    fill: Callable[[str, Identity], None] = lambda container, identity: None,
) -> Launch:
    """Starts containers for programs in the network namespace of container `beside`.

    They are created at once and start when `running` is set: once `beside` runs, or never will.
    `opened` is called with each stream, so that whoever takes the lab down can end it; `fill` puts files
    into a container before it starts.
    """

    def launch(identity: Identity) -> Started:
        refused = [word for word in identity.capabilities if word not in policy.capabilities]
        if refused:
            raise UsageError(f"{', '.join(refused)} is not allowed by policy.capabilities in lab.yml")
        spec = ContainerSpec(
            name="-".join((name, "programs", *_words_of(identity))),
            image=image,
            labels=labels,
            command=("lab-agent", "programs"),
            join=beside,
            capabilities=identity.capabilities,
            user=identity.user,
            ulimits={"core": 0},
            limits=ContainerLimits(limits.memory.bytes, limits.pids, limits.file_size.bytes),
            no_new_privileges=True,
            outlives_lab=outlives_lab,
        )
        container = engine.create(spec)
        fill(container, identity)
        stream = engine.attach(container)
        opened(stream)
        running.wait()
        engine.start(container)
        return Started(stream, lambda: engine.disk_used(container), lambda: engine.kill(container))

    return launch


def _words_of(identity: Identity) -> Iterator[str]:
    """For the name of a container: letters, digits and `_.-` only."""
    yield from (word.lower() for word in identity.capabilities)
    if identity.user is not None:
        yield "as-" + "".join(c if c.isascii() and c.isalnum() else "." for c in identity.user)


class Programs:
    """All programs of one life of a host. Thread-safe; containers start when they are prepared or needed."""

    def __init__(self, host: str, launch: Launch, limits: Limits = DEFAULT) -> None:
        self._host, self._launch, self._limits = host, launch, limits
        self.heard: Callable[[Event], None] = lambda event: None  #: gets what the agents send unasked
        self._lock = threading.Lock()
        self._rooms: dict[Identity, Future[_Room]] = {}
        self._live: list[_Room] = []  #: those whose container was started, ready or not
        self._of_step: dict[str, _Room] = {}
        self._cpu: int | None = None
        self._closed = False

    def prepare(self, needed: Iterable[Identity]) -> None:
        """Starts the containers of these identities, each in a thread; `wait_ready` waits for them."""
        for identity in needed:
            self._room(identity)

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
        room = self._room(spec.identity).result(BRING_UP)
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

    def freeze(self) -> None:
        """No program does anything from now on; see `kill_all`."""
        for room in self._rooms_now():
            room.signal_all("STOP")

    def kill_all(self) -> None:
        """Ends all programs; returns when their records are there, with what they had printed."""
        for room in self._rooms_now():
            room.signal_all("KILL")
        for room in self._rooms_now():
            room.wait_ended()

    def _rooms_now(self) -> list[_Room]:
        with self._lock:
            return list(self._live)

    def close(self) -> None:
        """Ends all programs, with their containers. May be called twice."""
        self._end(kill=True)

    def leave(self) -> None:
        """Ends the lab's side of them; whoever removes the containers after this finds them all."""
        self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        with self._lock:
            self._closed = True
            live, opening = list(self._live), list(self._rooms.values())
        for room in live:
            room.close(kill=kill)
        wait(opening, BRING_UP)

    def _room(self, identity: Identity) -> Future[_Room]:
        with self._lock:
            if self._closed:
                raise AgentError(f"{self._host}: its programs have ended with it")
            future = self._rooms.get(identity)
            if future is None:
                future = self._rooms[identity] = Future()
                name = f"programs-{self._host}"
                threading.Thread(target=self._open, args=(identity, future), name=name, daemon=True).start()
            return future

    def _open(self, identity: Identity, future: Future[_Room]) -> None:
        try:
            started = self._launch(identity)
            with self._lock:
                room = _Room(self._host, started, self._limits, self.heard)
                self._live.append(room)
                closed = self._closed
            if closed:
                room.close(kill=True)
            room.wait_ready()
            self._hand_out(room, future)
        except LabError as error:
            future.set_exception(error)

    def _hand_out(self, room: _Room, future: Future[_Room]) -> None:
        """Once it is pinned as asked by then; `pin` sees to those that are handed out."""
        pinned: int | None = None
        while True:
            with self._lock:
                if self._cpu == pinned or self._cpu is None:
                    future.set_result(room)
                    return
                pinned = self._cpu
            room.pin(pinned)


class _Room:
    """One container for programs, and its agent."""

    def __init__(self, host: str, started: Started, limits: Limits, heard: Callable[[Event], None]) -> None:
        self._host, self._started, self._limits = host, started, limits
        self._channel = Channel(started.stream, f"programs of {host}", on_event=heard)
        self._full: str | None = None  #: what is said about all programs once the disk is
        #: What waits for a look at the disk: a program that ended, or None where one began.
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running = 0
        self._steps: dict[str, Future[RunRecord]] = {}  #: of the programs that run
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
            self._steps[spec.step] = target
        self._events.put(None)
        source = self._channel.submit(
            "run",
            step=spec.step,
            argv=list(spec.argv),
            stdin=spec.stdin,
            timeout_ns=None if spec.timeout is None else spec.timeout.ns,
            open_files=open_files,
            output=self._limits.logs.bytes,
            environment=dict(spec.environment),
        )

        def settle() -> None:
            with self._lock:
                self._running -= 1
                del self._steps[spec.step]
            try:
                raw = source.result()
                record = run_record(self._host, spec, raw, self._told(raw))
            except AgentError as error:
                if self._full is None:
                    target.set_exception(error)
                    return
                ended = time.monotonic_ns(), time.time_ns()
                record = unheard_record(self._host, spec.step, spec.argv, began, ended, self._full)
            except Nonsense as nonsense:
                target.set_exception(
                    AgentError(f"programs of {self._host}: the reply makes no sense: {nonsense}")
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
        with sensible(f"programs of {self._host}"):
            return moment(self._channel.request("signal_run", timeout=QUICK, step=step, signal=signal))

    def signal_all(self, signal: str) -> None:
        """Signals every program that runs; one that ends meanwhile, or with its container, is left out."""
        with self._lock:
            steps = list(self._steps)
        for step in steps:
            with contextlib.suppress(AgentError):
                self.signal(step, signal)

    def wait_ended(self) -> None:
        with self._lock:
            running = list(self._steps.values())
        wait(running, QUICK)

    def cancel(self, step: str) -> int:
        with sensible(f"programs of {self._host}"):
            return Reply({"cancel": self._channel.request("cancel", timeout=QUICK, step=step)}).integer(
                "cancel"
            )

    def close(self, *, kill: bool) -> None:
        self._closed = True
        self._events.put(None)
        if kill:
            self._started.kill()
        self._channel.close()

    def _told(self, raw: Any) -> str | None:
        return next((self._limits.reached(word, self._host) for word in limits_hit(raw)), self._full)

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
