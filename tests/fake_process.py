"""A container of the fake engine: a thread that runs a Python function, with its streams, files and log."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lab.engine.base import ContainerSpec, Health, LogLine, StreamName
from lab.engine.logs import LinesOf
from lab.errors import EngineError

Program = Callable[["FakeProcess"], int]


class FakeKilled(BaseException):
    """Unwinds a program that was killed, as SIGKILL would; a program cannot catch it with `Exception`."""


class FakeProcess:
    """What a program of the fake engine sees: its arguments, its streams, its files.

    Every method raises `FakeKilled` once the container was killed.
    """

    def __init__(
        self,
        spec: ContainerSpec,
        argv: Sequence[str],
        files: dict[str, bytes],
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.spec = spec
        self.argv = list(argv)
        self.files = files
        self.user = user if user is not None else spec.user
        self.working_dir = spec.working_dir
        self.environment = {**spec.environment, **(environment or {})}
        self.stdin: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.stdout: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.signals: list[str] = []
        self.errors = bytearray()
        self.log = FakeLog(spec.limits.log)
        self.oom_killed = False
        self._killed = threading.Event()
        self._signalled: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thawed = threading.Event()
        self._thawed.set()
        self._pending = b""
        if not spec.stdin:
            self.stdin.put(None)

    def read_line(self) -> bytes | None:
        """The next line of stdin without its newline, blocking; None at its end."""
        while b"\n" not in self._pending:
            chunk = self.stdin.get()
            self._check()
            if chunk is None:
                self.stdin.put(None)
                rest, self._pending = self._pending, b""
                return rest or None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def write(self, data: bytes) -> None:
        self._check()
        if self.spec.stdin:
            self.stdout.put(data)
        else:
            self.log.add("stdout", data)

    def error(self, data: bytes) -> None:
        self._check()
        self.errors += data
        if not self.spec.stdin:
            self.log.add("stderr", data)

    def pause(self) -> None:
        """Blocks until the container is killed."""
        self._killed.wait()
        self._check()

    def next_signal(self) -> str:
        """Blocks until a signal other than KILL arrives: what a program with a handler does."""
        signal = self._signalled.get()
        self._check()
        return signal

    def exhaust_memory(self) -> None:
        """Ends as it would at the memory limit."""
        self.oom_killed = True
        raise FakeKilled

    def signal(self, name: str) -> None:
        self.signals.append(name)
        self._signalled.put(name)

    def kill(self) -> None:
        self._killed.set()
        self._thawed.set()
        self.stdin.put(b"")
        self._signalled.put("KILL")

    @property
    def paused(self) -> bool:
        return not self._thawed.is_set()

    def freeze(self, frozen: bool) -> None:
        """A frozen program stops at its next read, write or signal."""
        if frozen:
            self._thawed.clear()
        else:
            self._thawed.set()

    def _check(self) -> None:
        self._thawed.wait()
        if self._killed.is_set():
            raise FakeKilled


class FakeStream:
    """`Stream` on a fake container."""

    def __init__(self, process: FakeProcess, ended: threading.Event) -> None:
        self._process = process
        self._ended = ended
        self._closed = False
        self._pending = b""

    def write(self, data: bytes) -> None:
        if self._closed or self._ended.is_set():
            raise EngineError("the container has ended, nothing can be written to it")
        self._process.stdin.put(data)

    def read_line(self) -> bytes | None:
        while b"\n" not in self._pending:
            chunk = None if self._closed else self._process.stdout.get()
            if chunk is None:
                self._process.stdout.put(None)
                rest, self._pending = self._pending, b""
                return rest or None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def stderr_tail(self) -> str:
        return bytes(self._process.errors[-8192:]).decode(errors="replace")

    def close(self) -> None:
        self._closed = True
        self._process.stdin.put(None)
        self._process.stdout.put(None)


class FakeLog:
    """The lines that a container has written, for as many readers as there are."""

    def __init__(self, limit: int) -> None:
        self.lines: list[LogLine] = []
        self.first = 0  #: index of the oldest line that the limit has left
        self._limit = limit
        self._kept = 0
        self.ended = False
        self.changed = threading.Condition()
        self._open: dict[StreamName, LinesOf] = {"stdout": LinesOf("stdout"), "stderr": LinesOf("stderr")}

    def add(self, stream: StreamName, data: bytes) -> None:
        with self.changed:
            for piece in data.splitlines(keepends=True):
                line = self._open[stream].add(time.time_ns(), piece)
                if line is not None:
                    self.lines.append(line)
                    self._kept += len(line.text)
            while self._kept > self._limit:
                self._kept -= len(self.lines[self.first].text)
                self.first += 1
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.lines += [line for lines in self._open.values() if (line := lines.end()) is not None]
            self.ended = True
            self.changed.notify_all()


class FakeLogs:
    """`LogStream` on a fake container."""

    def __init__(self, log: FakeLog, *, follow: bool, last: int | None = None) -> None:
        self._log = log
        self._follow = follow
        self._next = 0 if last is None else max(0, len(log.lines) - last)
        self._closed = False

    def read(self) -> LogLine | None:
        with self._log.changed:
            while True:
                if self._closed:
                    return None
                self._next = max(self._next, self._log.first)
                if self._next < len(self._log.lines):
                    self._next += 1
                    return self._log.lines[self._next - 1]
                if self._log.ended or not self._follow:
                    return None
                self._log.changed.wait()

    def close(self) -> None:
        with self._log.changed:
            self._closed = True
            self._log.changed.notify_all()


class FakeMeter:
    """`OutputMeter` on a fake container: a line at a time."""

    def __init__(self, log: FakeLogs) -> None:
        self._log = log

    def read(self) -> int | None:
        line = self._log.read()
        return None if line is None else len(line.text) + 1

    def close(self) -> None:
        self._log.close()


@dataclass
class FakeContainer:
    id: str
    spec: ContainerSpec
    process: FakeProcess
    program: Program
    started: bool = False
    exit_code: int | None = None
    started_ns: int | None = None
    finished_ns: int | None = None
    health: Health | None = None
    health_output: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def runs(self) -> bool:
        return self.started and not self.ended.is_set()

    def argv(self) -> list[str]:
        return [*(self.spec.entrypoint or ()), *(self.spec.command or ())]

    def begin(self) -> None:
        """Starts it, again with its files and its log where it has ended before."""
        if self.ended.is_set():
            old, self.process = self.process, FakeProcess(self.spec, self.argv(), self.process.files)
            self.process.log = old.log
            self.process.log.ended = False
            self.ended = threading.Event()
        self.started, self.exit_code = True, None
        self.started_ns, self.finished_ns = time.time_ns(), None
        self.health = "starting" if self.spec.healthcheck is not None else None
        threading.Thread(target=self.run, name=self.spec.name, daemon=True).start()

    def run(self) -> None:
        try:
            self.exit_code = self.program(self.process)
        except FakeKilled:
            self.exit_code = 137
        finally:
            self.finished_ns = time.time_ns()
            self.process.log.end()
            self.ended.set()
            self.process.stdout.put(None)
