"""Programs of `run` steps: the host's own tools, with stdin, a time limit and a bounded output."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from .limits import die_first, read_hits
from .lines import CHUNK, Outbox
from .loop import Loop, Timer
from .tools import DEFAULT_SIGNALS

KEEP = 1 << 20  #: bytes kept of each output; the rest is only counted
DRAIN = 64  #: reads after a program's end: more than a pipe holds, as its child may write forever


class Output:
    """One output of a program."""

    def __init__(self, loop: Loop, fd: int, came: Callable[[int], None]) -> None:
        self._loop, self._fd, self._came = loop, fd, came
        self._data = bytearray()
        self._more = 0
        os.set_blocking(fd, False)
        loop.read(fd, self._hear)

    def _hear(self) -> None:
        data = os.read(self._fd, CHUNK)
        if data:
            room = max(0, KEEP - len(self._data))
            self._data += data[:room]
            self._more += len(data[room:])
            self._came(len(data))
        else:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.read(self._fd, None)
            os.close(self._fd)
            self._fd = -1

    @property
    def open(self) -> bool:
        return self._fd >= 0

    def drain(self) -> None:
        """Read what is there now, and no more: a child of the program may hold the pipe open."""
        for _ in range(DRAIN):
            if not self.open:
                return
            try:
                self._hear()
            except BlockingIOError:
                break
        self.close()

    @property
    def text(self) -> str:
        text = bytes(self._data).decode("utf-8", "replace")
        return text + (f"\n… ({self._more} bytes more)" if self._more else "")


class Program:
    """One program, the leader of a process group that ends with it."""

    def __init__(
        self,
        loop: Loop,
        step: str,
        argv: list[str],
        stdin: str,
        open_files: int | None,
        output: int | None,
        environment: dict[str, str],
        hits: dict[str, int],
        done: Callable[[dict[str, Any]], None],
    ) -> None:
        """`output` limits the bytes of both outputs; `hits` are the limits hit so far: `read_hits`."""
        self._loop, self.step, self._done = loop, step, done
        self._room, self._hits = output, hits
        self._limits: list[str] = []
        self._error: str | None = None
        self._status: int | None = None
        self._timer: Timer | None = None
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self._start_wall, self._start_mono = time.time_ns(), time.monotonic_ns()
        self._end_wall = self._end_mono = 0
        own = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = own if open_files is None else (min(open_files, own[1]),) * 2
        try:
            # A program inherits the agent's limits. A hard limit cannot be raised again, so this one is set
            # only on the program.
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit[0], own[1]))
            self.pid = os.posix_spawnp(
                argv[0],
                argv,
                {**os.environ, **environment},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, in_read, 0),
                    (os.POSIX_SPAWN_DUP2, out_write, 1),
                    (os.POSIX_SPAWN_DUP2, err_write, 2),
                ],
                setsigdef=(*DEFAULT_SIGNALS, signal.SIGXFSZ),  # Python ignores the last one
                setsid=True,
            )
        except OSError:
            for fd in (in_write, out_read, err_read):
                os.close(fd)
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, own)
            for fd in (in_read, out_write, err_write):
                os.close(fd)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, limit)
        die_first(self.pid)
        os.set_blocking(in_write, False)
        self._stdout = Output(loop, out_read, self._said)
        self._stderr = Output(loop, err_read, self._said)
        self._stdin = Outbox(loop, in_write, close_when_empty=True)
        self._stdin.send(stdin.encode())
        loop.child(self.pid, self._ended)

    def limit(self, seconds: float) -> None:
        self._timer = self._loop.after(seconds, self._too_long)

    def _said(self, count: int) -> None:
        if self._room is None:
            return
        self._room -= count
        if self._room < 0 and "logs" not in self._limits:
            self._limits.append("logs")
            self.signal(signal.SIGKILL)

    def _too_long(self) -> None:
        self._error = "timeout"
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> bool:
        """Signal the program and its children; False if it has ended."""
        if self._status is not None:
            return False
        os.killpg(self.pid, number)
        return True

    def _ended(self, status: int) -> None:
        self._end_wall, self._end_mono = time.time_ns(), time.monotonic_ns()
        self._status = os.waitstatus_to_exitcode(status)
        if self._timer is not None:
            self._timer.cancel()
        self._stdin.close()
        self._stdout.drain()
        self._stderr.drain()
        self._limits += [word for word, count in read_hits().items() if count > self._hits.get(word, 0)]
        if self._status in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ):  # or of a shell's last command
            self._limits.append("file_size")
        self._done(
            {
                "exit_code": self._status,
                "stdout": self._stdout.text,
                "stderr": self._stderr.text,
                "start_mono_ns": self._start_mono,
                "end_mono_ns": self._end_mono,
                "start_wall_ns": self._start_wall,
                "end_wall_ns": self._end_wall,
                "error": self._error,
                "limits": self._limits,
            }
        )

    def end(self) -> None:
        """End the program, and what it started and left behind."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        if self._status is None:
            os.waitpid(self.pid, 0)
