"""What a service writes, as it writes it: kept to a limit, searched by whoever waits for a line."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from lab.clock import Deadline
from lab.engine.base import LogLine, LogStream
from lab.evidence.model import LogRecord

LINES = 20_000  #: of one start of a service that are kept, the first ones
TAIL = 20  #: lines that a failure shows
_FLOOD_PATIENCE = 15.0  #: seconds: an engine gives 64 MB of short lines in 5


class Pattern(Protocol):
    def holds(self, output: str) -> bool: ...


class ServiceLog:
    """The lines of one start of a service. Thread-safe."""

    def __init__(
        self,
        host: str,
        service: str,
        start: int,
        stream: LogStream,
        most: int = 1 << 62,
        flooded: Callable[[], None] = lambda: None,
    ) -> None:
        """`flooded` is called once, by the reader, when more than `most` bytes were written."""
        self.host, self.service, self.start = host, service, start
        self.cut = False  #: lines are missing
        self._room, self._flooded = most, flooded
        self._read_so_far = 0  #: lines
        self._first: LogLine | None = None
        self._stream = stream
        self._lines: list[LogRecord] = []
        self._last: deque[LogLine] = deque(maxlen=TAIL)  #: those that failures show, also beyond the limit
        self._more = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, name=f"log-{host}-{service}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while (line := self._stream.read()) is not None:
            before, self._room = self._room, self._room - len(line.text) - 1
            if self._room < 0 <= before:
                self._flooded()
            with self._more:
                self._first = self._first or line
                self._read_so_far += 1
                self._last.append(line)
                if len(self._lines) < LINES:
                    self._lines.append(self._record(line))
                else:
                    self.cut = True
                self._more.notify_all()
        with self._more:
            self._over = True
            self._more.notify_all()

    def _record(self, line: LogLine) -> LogRecord:
        text = line.text.decode("utf-8", "replace")
        return LogRecord(
            self.host, self.service, self.start, line.time_ns, line.stream, text, cut=not line.whole
        )

    def lines(self) -> tuple[LogRecord, ...]:
        with self._more:
            return tuple(self._lines)

    def tail(self) -> str:
        """The last lines, for failures; "" where it wrote nothing."""
        with self._more:
            return "\n".join(f"  {self._record(line).text}" for line in self._last)

    def wait_for(
        self,
        pattern: Pattern,
        deadline: Deadline,
        since_ns: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> LogRecord | None:
        """The first line not before `since_ns` that the pattern is found in; None where time, or the log, is
        over before, or `stop` says so (asked at each line, and every 50 ms)."""
        seen = 0
        while True:
            with self._more:
                fresh, over = self._lines[seen:], self._over
                if not fresh and not over:
                    if deadline.expired() or stop():
                        return None
                    self._more.wait(min(0.05, deadline.remaining()))
                    continue
            for record in fresh:
                if record.wall_ns >= since_ns and pattern.holds(record.text):
                    return record
            seen += len(fresh)
            if over and not fresh:
                return None

    def catch_up(self, logs: Callable[[int | None], LogStream], timeout: float = 5.0) -> None:
        """Returns when all that the container has written until now was read here; where something was lost
        on the way, at the engine's limit or by the reader, `cut` says so.

        `logs` gives the same log as the engine has it now, not followed: the whole, or its last lines.
        """
        deadline = Deadline.after(timeout, "reading a log to its end")
        if self.cut:
            self._reach(logs(1))
            return
        whole = logs(None)
        first, count = whole.read(), 0
        line = first
        while line is not None and not self.cut and not deadline.expired():
            count, line = count + 1, whole.read()
        whole.close()
        if line is not None:  # there is more than is kept, or than can be read in time
            self.cut = True
            self._reach(logs(1))
            return
        with self._more:
            there = self._more.wait_for(lambda: self._over or self._read_so_far >= count, timeout)
            if not there or self._read_so_far < count or (first is not None and first != self._first):
                self.cut = True

    def _reach(self, end: LogStream) -> None:
        """Returns when the reader has come to the line that is the last one now, or to the limit.

        So a flood meets its limit, or does not, by what was written and not by how fast it was read.
        """
        line = end.read()
        end.close()
        if line is None:
            return
        with self._more:
            self._more.wait_for(
                lambda: self._over
                or self._room < 0
                or bool(self._last and self._last[-1].time_ns >= line.time_ns),
                _FLOOD_PATIENCE,
            )

    def close(self, timeout: float = 5.0) -> None:
        """Reads to the end of what there is; of a container that has ended that is all."""
        self._reader.join(timeout)
        self._stream.close()
