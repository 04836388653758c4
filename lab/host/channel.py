"""The control channel to an agent in a container: JSON lines over its main process's stdin and stdout.

A request is `{"id": n, "op": "…", …}`; its reply is `{"id": n, "ok": …}` or
`{"id": n, "error": {"kind": "…", "message": "…"}}`, and replies may come in any order. A line with `event`
and no `id` is sent by the agent unasked; the first one is `ready`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from lab.engine.base import Stream
from lab.errors import AgentError, EngineError
from lab.evidence.model import Json
from lab.numbers import read_json

Event = Mapping[str, Json]


_LONGEST = 10_000  #: characters of an agent's error text


class AgentRefused(AgentError):
    """The agent is well but would not or could not do what was asked; `kind` says why in one word."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Channel:
    """One agent's requests, replies and events.

    Safe to use from several threads. A reader thread resolves the futures and calls `on_event`, which must
    be quick. When the stream ends, every pending future fails with `AgentError` and so does every later call.
    """

    def __init__(self, stream: Stream, name: str, *, on_event: Callable[[Event], None] | None = None) -> None:
        self._stream = stream
        self.name = name
        self._on_event = on_event
        self._lock = threading.Lock()
        self._pending: dict[int, tuple[str, Future[Any]]] = {}
        self._last_id = 0
        self._ended: str | None = None  # why the channel is over
        self._closing = False
        self._ready: Future[Event] = Future()
        self._reader = threading.Thread(target=self._read, name=f"channel-{name}", daemon=True)
        self._reader.start()

    def submit(self, op: str, **args: Json) -> Future[Any]:
        """Send a request; the future gives the reply's `ok`, or fails with `AgentRefused` or `AgentError`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # a caller cannot un-send it
        with self._lock:
            if self._ended is not None:
                future.set_exception(self._death(op))
                return future
            self._last_id += 1
            number = self._last_id
            self._pending[number] = (op, future)
        line = json.dumps({"id": number, "op": op, **args}, separators=(",", ":"))
        try:
            self._stream.write(line.encode() + b"\n")
        except EngineError as error:
            self._end(str(error))
        return future

    def request(self, op: str, *, timeout: float, **args: Json) -> Any:
        """Send a request and wait for its reply. Raises `AgentError` when it does not come in time."""
        return self.result(self.submit(op, **args), op, timeout)

    def result(self, future: Future[Any], what: str, timeout: float) -> Any:
        """A future's value, with `AgentError` in place of the bare time-out."""
        try:
            return future.result(timeout)
        except FutureTimeout as error:
            if future.done():  # a TimeoutError that the reply itself carried
                raise
            raise AgentError(
                f"{self.name}: no reply to {what} within {timeout:g} s{self._said()}",
                hint="the container may be starved of processor time or stopped: see its log",
            ) from error

    def wait_ready(self, timeout: float) -> Event:
        """The agent's first event. Raises `AgentError` if the agent dies first or the event is late."""
        return self.result(self._ready, "start (its ready event)", timeout)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the channel: the agent sees the end of its stdin and exits. May be called twice."""
        self._closing = True
        self._end("the lab closed the channel")
        self._stream.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout=5)

    def _read(self) -> None:
        reason = "its output ended"
        try:
            while (line := self._stream.read_line()) is not None:
                self._handle(line)
        except EngineError as error:
            reason = str(error)
        except _Nonsense as error:
            reason = str(error)
        finally:
            self._end(reason)

    def _handle(self, line: bytes) -> None:
        try:
            message = read_json(line.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise _Nonsense(f"it wrote {line[:200]!r}, which is not JSON ({error})") from error
        if not isinstance(message, dict):
            raise _Nonsense(f"it wrote {line[:200]!r}, which is not an object")
        if "id" not in message:
            if message.get("event") == "ready" and not self._ready.done():
                self._ready.set_result(message)
            elif self._on_event is not None:
                self._on_event(message)
            return
        with self._lock:
            number = message["id"]
            known = isinstance(number, int)  # a list cannot be a dictionary key
            op, future = self._pending.pop(number, (None, None)) if known else (None, None)
        if future is None:
            raise _Nonsense(f"it answered request {str(number)[:50]}, which is not open")
        if "error" in message:
            match message["error"]:
                case {"message": str() as text, "kind": str() as kind}:
                    future.set_exception(
                        AgentRefused(f"{self.name}: {op}: {text[:_LONGEST]}", kind=kind[:50])
                    )
                case _:
                    future.set_exception(AgentError(f"{self.name}: {op}: the agent's error makes no sense"))
        else:
            future.set_result(message.get("ok"))

    def _end(self, reason: str) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = reason
            pending = list(self._pending.values())
            self._pending.clear()
        for op, future in pending:
            future.set_exception(self._death(op))
        if not self._ready.done():
            self._ready.set_exception(self._death("start"))

    def _death(self, op: str) -> AgentError:
        said = "" if self._closing else self._said()
        return AgentError(f"{self.name}: {op}: the agent is gone: {self._ended}{said}")

    def _said(self) -> str:
        tail = self._stream.stderr_tail().strip()
        return f"; its last words:\n{tail}" if tail else " (it said nothing on stderr)"


class _Nonsense(Exception):
    """The agent sent something that is not in the protocol."""
