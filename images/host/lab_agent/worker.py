"""One named process of a host: it holds sockets and makes calls, each in a thread, until it is killed.

It is forked from the agent, so it starts in a millisecond. Its first socket gets descriptor 3, as in any
program: its control channel has a high number, above the limit on open files if one is set.
"""

from __future__ import annotations

import _thread
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import threading
from typing import Any, NoReturn

from .call import WHOLE, Call
from .calls import CALLS
from .ledger import Ledger
from .lines import encode, write_all
from .privileges import give_up_all
from .protocol import MALFORMED, malformed
from .sockets import Address, NameProblem, Sockets
from .waiting import WAKE, prepare_process

CONTROL_FD = 1000  #: at most; one below the container's own limit if that is lower


def fork_worker(ledger: Ledger, open_files: int | None) -> tuple[int, socket.socket]:
    """Fork a process; return its pid and the agent's end of its control channel."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _become_worker(theirs, ledger, open_files)
    theirs.close()
    ours.setblocking(False)
    return pid, ours


def _become_worker(control: socket.socket, ledger: Ledger, open_files: int | None) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        fd = _keep_only(control.detach(), open_files)
        give_up_all()
        prepare_process()
        sys.setswitchinterval(0.0005)  # a thread that hashes must not keep one that stamps from running
        Worker(fd, ledger).serve()
        status = 0
    finally:  # whatever happens, never back into the agent's code above the fork
        if status:
            sys.excepthook(*sys.exc_info())
        os._exit(status)


def _keep_only(control: int, open_files: int | None) -> int:
    """Close all inherited descriptors except stderr and the control channel: a listener or a pipe held open
    here would keep another process's FIN from being sent. Returns the channel's new number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    high = fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, min(soft - 1, CONTROL_FD))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    for name in os.listdir("/proc/self/fd"):
        if 2 < int(name) != high:
            try:
                os.close(int(name))
            except OSError:  # the descriptor that listed the folder
                continue
    if open_files is not None:
        limit = min(open_files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return high


class Worker:
    """Reads requests, starts a thread for each, and writes their replies."""

    def __init__(self, control: int, ledger: Ledger) -> None:
        self._control = control
        self._lock = threading.Lock()  # guards the control channel's writing side and `_running`
        self._running: dict[int, tuple[int, Call]] = {}  # request id → thread, call
        self._sockets = Sockets(ledger, self._tell_stream)

    def serve(self) -> None:
        with open(self._control, "rb", closefd=False) as requests:
            for line in requests:
                message = json.loads(line)
                if "cancel" in message:
                    self._cancel(message["cancel"])
                else:
                    self._start(message)

    def _start(self, message: dict[str, Any]) -> None:
        try:
            _thread.start_new_thread(self._make, (message,))
        except RuntimeError:
            text = "no more threads: this process already makes as many calls at once as the kernel allows"
            self._tell({"id": message["id"], "kind": "threads", "message": text})

    def _make(self, message: dict[str, Any]) -> None:
        number = message["id"]
        try:
            call = Call(
                number,
                message["call"],
                message["args"],
                message["timeout_ns"],
                self._sockets,
                self._tell_begun,
            )
        except MALFORMED as error:
            self._tell({"id": number, "kind": "request", "message": malformed(error)})
            return
        if message.get("whole"):
            call.keep = WHOLE
        with self._lock:
            self._running[number] = (_thread.get_ident(), call)
        reply: dict[str, Any] = {
            "id": number,
            "kind": "internal",
            "message": f"the agent failed in {call.name}; the traceback is in its log",
        }
        try:
            reply = {"id": number, "record": call.run(CALLS[call.name])}
        except NameProblem as error:
            reply = {"id": number, "kind": "name", "message": str(error)}
        except MALFORMED as error:
            reply = {"id": number, "kind": "request", "message": malformed(error)}
        finally:
            with self._lock:
                del self._running[number]
            self._tell(reply)

    def _cancel(self, number: int) -> None:
        with self._lock:  # the thread cannot end meanwhile, so its id stays its own
            if number in self._running:
                thread, call = self._running[number]
                call.cancel()
                signal.pthread_kill(thread, WAKE)

    def _tell(self, message: dict[str, Any]) -> None:
        line = encode(message)
        with self._lock:
            write_all(self._control, line)

    def _tell_begun(self, call: Call) -> None:
        self._tell(
            {"id": call.number, "begun": {"start_mono_ns": call.start_mono, "start_wall_ns": call.start_wall}}
            | call.facts()
        )

    def _tell_stream(self, slot: int, name: str, local: Address, remote: Address) -> None:
        self._tell({"stream": {"slot": slot, "socket": name, "local": local, "remote": remote}})
