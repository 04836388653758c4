"""The line protocol: requests from stdin to methods, replies and events to stdout, until stdin ends."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from .lines import LineReader, encode, write_all
from .loop import Loop

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STDIN, STDOUT = 0, 1

Handler = Callable[[int, dict[str, Any]], Any]
LATER = object()  #: a handler's answer if it replies later by itself


class Refused(Exception):
    """The request cannot be carried out; `kind` is one word for programs."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


#: What a handler raises if a request lacks something, or has something that does not belong there.
MALFORMED = (
    *(KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError, RecursionError),
    MemoryError,  # for a size that no buffer can have
)


def malformed(error: BaseException) -> str:
    """The message for a request that could not be understood, with the place in the agent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" ({trace.tb_frame.f_code.co_name}, line {trace.tb_lineno})"
    return f"not understood: {type(error).__name__}: {str(error)[:200]}{where}"


class NoRequest(Exception):
    """A line from the lab that is no request: nothing after it can be trusted to be one."""


class Service:
    """Every `op_…` method is an operation of the protocol. It returns the reply, or replies later."""

    #: Exceptions that are answers, not bugs, and the word for each in the reply.
    answers: tuple[tuple[type[Exception], str], ...] = ((OSError, "os"),)

    def __init__(self) -> None:
        self.loop = Loop()
        self._requests = LineReader(STDIN)
        self._ops: dict[str, Handler] = {
            name.removeprefix("op_"): getattr(self, name) for name in dir(self) if name.startswith("op_")
        }

    def serve(self) -> None:
        """Serve until stdin ends or SIGTERM comes; then end everything that was started."""
        signal.signal(signal.SIGTERM, lambda number, frame: self.loop.stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the lab's to handle
        self.begin()
        self.loop.read(STDIN, self._hear)
        self.send({"event": "ready", "pid": os.getpid(), "kernel": os.uname().release})
        try:
            self.loop.run()
        except BrokenPipeError:
            pass  # the lab is gone
        except NoRequest as problem:
            sys.stderr.write(f"the lab sent {problem}\n")
            raise SystemExit(1) from None
        finally:
            self.end()

    def begin(self) -> None:
        """Prepare before the first request."""

    def end(self) -> None:
        """End all that was started."""

    def send(self, message: dict[str, Any]) -> None:
        write_all(STDOUT, encode(message))

    def reply(self, number: int, value: Any) -> None:
        self.send({"id": number, "ok": value})

    def refuse(self, number: int, kind: str, message: str) -> None:
        self.send({"id": number, "error": {"kind": kind, "message": message}})

    def _hear(self) -> None:
        for line in self._requests.take():
            try:
                request = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise NoRequest(f"{line[:100]!r}: {error}") from error
            if not isinstance(request, dict) or not isinstance(request.get("id"), int):
                raise NoRequest(f"{line[:100]!r}: not an object with an id")
            self._handle(request)
        if self._requests.ended:
            self.loop.stop()

    def _handle(self, request: dict[str, Any]) -> None:
        number = request["id"]
        op = request.get("op")
        handler = self._ops.get(op) if isinstance(op, str) else None
        kinds = tuple(kind for kind, _ in self.answers)
        try:
            if handler is None:
                raise Refused("op", f"unknown operation {str(op)[:50]!r}; there are: {', '.join(self._ops)}")
            value = handler(number, request)
        except Refused as refused:
            self.refuse(number, refused.kind, str(refused))
        except kinds as problem:
            word = next(word for kind, word in self.answers if isinstance(problem, kind))
            self.refuse(number, word, str(problem))
        except MALFORMED as error:
            self.refuse(number, "request", malformed(error))
        else:
            if value is not LATER:
                self.reply(number, value)


def signal_of(name: str) -> signal.Signals:
    """The signal named `KILL` or `SIGKILL`. Raises `Refused` if there is no such signal."""
    try:
        return signal.Signals[name if name.startswith("SIG") else "SIG" + name]
    except KeyError as error:
        raise Refused("signal", f"{name!r} is not a signal: KILL, TERM, STOP, CONT …") from error


def prepare_environment() -> None:
    """Add the folders of system tools to PATH, and go to / as the working directory of programs."""
    for folder in ("/usr/sbin", "/sbin"):
        if folder not in os.environ.get("PATH", PATH).split(":"):
            os.environ["PATH"] = os.environ.get("PATH", PATH) + ":" + folder
    os.chdir("/")  # the agent's own modules are loaded by now
