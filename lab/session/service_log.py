"""What a service writes, as it writes it: kept to a limit, searched by whoever waits for a line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from lab.clock import Deadline
from lab.engine.base import LogLine, LogStream
from lab.evidence.model import LogRecord

LINES = 20_000  #: kept of one start of a service: the first ones
TAIL = 20  #: lines that a failure shows


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
        again: Callable[[int | None], LogStream],
    ) -> None:
        """`stream` follows; `again` gives the same log as it is now, the whole or its last lines."""
        self.host, self.service, self.start = host, service, start
        self.cut = False  #: lines are missing
        self._read_so_far = 0  #: lines
        self._first: LogLine | None = None
        self._stream = stream
        self._lines: list[LogRecord] = []
        self._again = again
        self._more = threading.Condition()
        self._over = False
        threading.Thread(target=self._read, name=f"log-{host}-{service}", daemon=True).start()

    def _read(self) -> None:
        """Reads to the end of the log or of what is kept: a flood is not worth the engine's time or ours."""
        while not self.cut and (line := self._stream.read()) is not None:
            with self._more:
                self._first = self._first or line
                self._read_so_far += 1
                if len(self._lines) < LINES:
                    self._lines.append(self._record(line))
                else:
                    self.cut = True
                self._more.notify_all()
        self._stream.close()
        with self._more:
            self._over = True
            self._more.notify_all()

    def _record(self, line: LogLine) -> LogRecord:
        text = line.text.decode("utf-8", "replace")
        return LogRecord(
            self.host, self.service, self.start, line.time_ns, line.stream, text, cut=not line.whole
        )

    def lines(self) -> tuple[LogRecord, ...]:
        """The first `LINES`, and the last `TAIL` too if the log is longer."""
        with self._more:
            kept = tuple(self._lines)
        return kept + self._beyond(kept) if self.cut else kept

    def _beyond(self, kept: tuple[LogRecord, ...]) -> tuple[LogRecord, ...]:
        stream = self._again(TAIL)
        last = [self._record(line) for line in iter(stream.read, None)]
        stream.close()
        return tuple(record for record in last if not kept or record.wall_ns > kept[-1].wall_ns)

    def tail(self) -> str:
        """The last lines, for failures; "" where it wrote nothing."""
        return "\n".join(f"  {record.text}" for record in self.lines()[-TAIL:])

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

    def catch_up(self, timeout: float = 5.0) -> None:
        """Returns when all that the container has written so far has been read; where something was lost
        on the way, at the engine's limit or by the reader, `cut` says so.
        """
        deadline = Deadline.after(timeout, "reading a log to its end")
        whole = self._again(None)
        first, count = whole.read(), 0
        line = first
        while line is not None and not self.cut and not deadline.expired():
            count, line = count + 1, whole.read()
        whole.close()
        if line is not None:  # there is more than is kept, or than can be read in time
            self.cut = True
            return
        with self._more:
            there = self._more.wait_for(lambda: self._over or self._read_so_far >= count, timeout)
            if not there or self._read_so_far < count or (first is not None and first != self._first):
                self.cut = True
