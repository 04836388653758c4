"""The agent's side of the named processes: forks, passes calls on, kills, knows what is pending."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from .ledger import Ledger
from .lines import LineReader, Outbox, encode
from .loop import Loop, Timer
from .pinning import Pinning
from .worker import fork_worker

Reply = Callable[[Any], None]
Refuse = Callable[[str, str], None]

#: Signals whose default action does not end a process.
SURVIVAL = 0.5  #: seconds
HARMLESS = (signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE)


class Pending:
    """A call that has not ended. (No dataclass: its import is a quarter of the start.)"""

    def __init__(self, step: str, reply: Reply, refuse: Refuse) -> None:
        self.step = step
        self.reply = reply
        self.refuse = refuse
        self.start_mono, self.start_wall = time.monotonic_ns(), time.time_ns()
        self.begun: dict[str, Any] = {}  # what its process reported when it blocked

    def ended_by(self, name: str, message: str) -> dict[str, Any]:
        """The record of a call whose process cannot write one."""
        times = self.begun.get("begun") or {
            "start_mono_ns": self.start_mono,
            "start_wall_ns": self.start_wall,
        }
        facts = {key: value for key, value in self.begun.items() if key not in ("id", "begun")}
        return {
            **facts,
            **times,
            "end_mono_ns": time.monotonic_ns(),
            "end_wall_ns": time.time_ns(),
            "error": {"name": name, "errno": None, "message": message},
        }


class Process:
    """One life of a named process."""

    def __init__(self, name: str, open_files: int | None) -> None:
        self.name = name
        self.ledger = Ledger()
        self.pid, self.link = fork_worker(self.ledger, open_files)
        self.pending: dict[int, Pending] = {}
        self.streams: list[dict[str, Any]] = []
        self.alive = True
        self.stopped = False
        self.reader = LineReader(self.link.fileno())
        self.outbox: Outbox | None = None
        self.dying: list[
            tuple[Timer, dict[str, Any], Reply]
        ] = []  # signals whose effects are awaited, in order


class Processes:
    """All processes of the host, living and dead (their streams are evidence)."""

    def __init__(
        self,
        loop: Loop,
        began: Callable[[], None],
        moved: Callable[[], None],
        tell: Callable[[dict[str, Any]], None],
        pinning: Pinning,
    ) -> None:
        self._loop = loop
        self._began = began  # a call is on its way to its process
        self._moved = moved  # a call ended, or a process: socket states may have changed
        self._tell = tell
        self._pinning = pinning
        self._alive: dict[str, Process] = {}
        self._all: list[Process] = []
        self.open_files: int | None = None

    def get(self, name: str) -> Process:
        """The living process of this name; forks one if there is none, even after a kill."""
        process = self._alive.get(name)
        if process is None:
            with self._pinning:
                process = self._alive[name] = Process(name, self.open_files)
            self._all.append(process)
            process.outbox = Outbox(self._loop, os.dup(process.link.fileno()))
            self._loop.read(process.link.fileno(), lambda: self._hear(process))
            self._loop.child(process.pid, lambda status: self._died(process, status))
        return process

    def limit(self, open_files: int | None) -> None:
        """Limit the open files of processes from now on; idle ones are replaced."""
        if open_files != self.open_files:
            self.open_files = open_files
            self.end()

    def pin(self) -> None:
        """Pin the processes that exist already; no call has been made yet."""
        for process in self._alive.values():
            self._pinning.apply(process.pid)

    def call(self, number: int, request: dict[str, Any], reply: Reply, refuse: Refuse) -> None:
        process = self.get(request["process"])
        process.pending[number] = Pending(request["step"], reply, refuse)
        message = {
            "id": number,
            "call": request["call"],
            "args": {**request["args"], "step": request["step"]},
            "timeout_ns": request["timeout_ns"],
            "whole": request.get("whole", False),
        }
        assert process.outbox is not None
        process.outbox.send(encode(message))
        self._began()
        if process.stopped:  # it makes the call when it continues; nobody needs to wait for that
            self._tell({"event": "begun", "step": request["step"]})

    def cancel(self, step: str) -> int:
        """End the waiting calls of this step; return their number."""
        count = 0
        for process in self._alive.values():
            for number, pending in list(process.pending.items()):
                if pending.step == step:
                    count += 1
                    if process.stopped:  # it could not answer
                        del process.pending[number]
                        pending.reply(pending.ended_by("cancelled", "the lab ended the wait"))
                    assert process.outbox is not None
                    process.outbox.send(encode({"cancel": number}))
        return count

    def _hear(self, process: Process) -> None:
        for line in process.reader.take():
            message = json.loads(line)
            if "stream" in message:
                process.streams.append(message["stream"])
                continue
            number = message["id"]
            if "begun" in message:
                if number in process.pending:
                    process.pending[number].begun = message
                    self._tell({"event": "begun", "step": process.pending[number].step})
                continue
            pending = process.pending.pop(number, None)
            if pending is None:  # answered for it while it was stopped
                continue
            if "record" in message:
                pending.reply(message["record"])
            else:
                pending.refuse(message["kind"], message["message"])
            self._moved()
        if process.reader.ended:
            self._loop.read(process.link.fileno(), None)

    def _died(self, process: Process, status: int) -> None:
        """Record the pending calls of a dead process, once all its output has been read."""
        while not process.reader.ended:
            self._hear(process)
        process.alive = False
        if self._alive.get(process.name) is process:
            del self._alive[process.name]
        assert process.outbox is not None
        process.outbox.close()
        process.link.close()
        for pending in process.pending.values():
            if os.WIFSIGNALED(status):
                name = _signal_name(os.WTERMSIG(status))
                pending.reply(pending.ended_by("killed", f"the process was ended by {name}"))
            else:
                code = os.waitstatus_to_exitcode(status)
                pending.refuse("internal", f"process {process.name!r} ended by itself, status {code}")
        process.pending.clear()
        while process.dying:
            timer, sent, _ = process.dying[0]
            timer.cancel()
            self._answer(process, {**sent, "ended": True})
        self._moved()

    def _living(self, name: str) -> Process:
        process = self._alive.get(name)
        if process is None:
            raise ProcessLookupError(f"no process {name!r} is alive on this host")
        return process

    def send_signal(self, name: str, number: signal.Signals, reply: Reply) -> None:
        """Send a signal; reply once it has taken effect: the process is stopped, continues, or has ended and
        is reaped, its sockets closed. A signal that does not end it within 0.5 s was harmless."""
        process = self._living(name)
        sent = {"wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns(), "pid": process.pid}
        os.kill(process.pid, number)
        if number == signal.SIGKILL:
            self._reap(process)
        elif number == signal.SIGCONT:
            process.stopped = False
        elif number == signal.SIGSTOP and not process.stopped:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            process.stopped = os.WIFSTOPPED(status)
            if not process.stopped:
                self._loop.ended(process.pid, status)
        elif number not in HARMLESS and not process.stopped:
            survived = self._loop.after(SURVIVAL, lambda: self._answer(process, {**sent, "ended": False}))
            process.dying.append((survived, sent, reply))
            return
        reply({**sent, "ended": not process.alive})

    def _answer(self, process: Process, value: dict[str, Any]) -> None:
        _, _, reply = process.dying.pop(0)
        reply(value)

    def _reap(self, process: Process) -> None:
        _, status = os.waitpid(process.pid, 0)
        self._loop.ended(process.pid, status)

    def streams(self) -> list[dict[str, Any]]:
        """What every TCP stream carried, including those of dead processes."""
        return [
            {"process": process.name, **stream, **process.ledger.read(stream["slot"])._asdict()}
            for process in self._all
            for stream in process.streams
        ]

    def end(self) -> None:
        for process in list(self._alive.values()):
            os.kill(process.pid, signal.SIGKILL)
            self._reap(process)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return f"signal {number}"
