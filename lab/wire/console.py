"""The line protocol with the wire's container: one request at a time, over the container's stdin and stdout.

`tc` and `ip` are each one process that lives as long as the wire and reads line by line (`-force -batch -`).
An answer has no end mark of its own, so every request ends with a line whose output is known: for tc and ip
an object that they do not know, for a shell an echo. They report a failed line by its number.
"""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from lab.clock import SYSTEM_CLOCK, Clock, Deadline
from lab.engine.base import Stream
from lab.errors import EngineError, NothingImpairs, WireError

#: `tc` and `ip`; `sh`: a shell in the kernel that impairs; `out`: the container's shell, outside that kernel.
Tool = Literal["tc", "ip", "sh", "out"]

_FAILED = re.compile(r"Command failed -:(?P<line>\d+)\s*$")
_HINT = "look at the wire's last output; `lab doctor` says what this machine can do"


#: Bytes that may be under way to a tool. A console of user-mode Linux loses what does not fit into its buffer
#: of 4,096 (measured: the last of 100 lines never came).
ROOM = 2_000


class Reply(Struct, frozen=True):
    """What one request printed, how it ended and how long it took.

    `failed` holds the indexes of the lines that tc or ip refused; `status` is the exit status of the last
    line (1 if any was refused).
    """

    tool: Tool
    lines: tuple[str, ...]
    output: tuple[str, ...]
    failed: tuple[int, ...]
    status: int
    begin_wall_ns: int
    end_wall_ns: int
    duration_ms: float

    def json(self) -> list[Any]:
        """The one JSON document (a list) that the request printed."""
        text = "\n".join(self.output)
        try:
            found = json.loads(text or "[]")
        except json.JSONDecodeError as error:
            raise WireError(f"{self.tool} {self.lines[-1]}: answer is not JSON: {text[:300]!r}") from error
        return found if isinstance(found, list) else [found]


class Console:
    """Requests to the wire and its announcements (`wire hello`, `wire ready`). Thread-safe."""

    def __init__(self, stream: Stream, name: str = "wire", clock: Clock = SYSTEM_CLOCK) -> None:
        self._stream = stream
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._number = 0
        self._sent = {"tc": 0, "ip": 0}
        self._last: list[str] = []
        self._dead: str | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"{name}-console", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while (line := self._stream.read_line()) is not None:
                self._lines.put(line.decode(errors="replace").rstrip("\r"))
        except EngineError as error:
            self._dead = str(error)
        self._lines.put(None)

    def announced(self, word: str, deadline: Deadline) -> str:
        """Waits for the line `wire WORD …`; returns what follows the word."""
        with self._lock:
            while True:
                line = self._next(deadline, f"`wire {word}`")
                if line == f"wire {word}" or line.startswith(f"wire {word} "):
                    return line.removeprefix(f"wire {word}").strip()

    def request(self, tool: Tool, lines: Sequence[str], deadline: Deadline) -> Reply:
        """Sends lines to a tool and waits for all their output. A refused line does not raise here."""
        with self._lock:
            begin_wall, begin = self._clock.wall_ns(), self._clock.monotonic_ns()
            output: list[str] = []
            failed: list[int] = []
            status = done = 0
            for part in _parts(tool, lines):
                printed, refused, status = self._part(tool, part, deadline)
                output += printed
                failed += [done + at for at in refused]
                done += len(part)
            return Reply(
                tool=tool,
                lines=tuple(lines),
                output=tuple(output),
                failed=tuple(failed),
                status=1 if failed else status,
                begin_wall_ns=begin_wall,
                end_wall_ns=self._clock.wall_ns(),
                duration_ms=(self._clock.monotonic_ns() - begin) / 1e6,
            )

    def _part(self, tool: Tool, lines: Sequence[str], deadline: Deadline) -> tuple[list[str], list[int], int]:
        """Sends lines that fit the console; returns their output, the refused ones, the last status."""
        self._number += 1
        what = f"{tool} {lines[0]}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
        text = list(lines)
        if tool in self._sent:
            first = self._sent[tool] + 1
            text.append(f"end{self._number}")
            self._sent[tool] += len(text)
            self._write(tool, text, what)
            output, failed = self._until_unknown(tool, first, len(lines), deadline, what)
            return output, failed, 0
        text[-1] += f'; echo "wire end {self._number} $?"'
        self._write(tool, text, what)
        output, status = self._until_echo(deadline, what)
        return output, [], status

    def _write(self, tool: Tool, lines: Sequence[str], what: str) -> None:
        try:
            self._stream.write("".join(f"{tool} {line}\n" for line in lines).encode())
        except EngineError as error:
            raise self._gone(what, str(error)) from error

    def _until_unknown(
        self, tool: str, first: int, count: int, deadline: Deadline, what: str
    ) -> tuple[list[str], list[int]]:
        """Reads up to the refusal of the line that neither tc nor ip knows."""
        output: list[str] = []
        failed: list[int] = []
        end = f'Object "end{self._number}" is unknown, '
        while True:
            line = self._next(deadline, what)
            if line.startswith(end):
                continue  # its "Command failed" follows and is the end
            if match := _FAILED.match(line):
                at = int(match["line"]) - first
                if at == count:
                    return output, failed
                if not 0 <= at < count:
                    raise WireError(
                        f"{self._name}: {what}: {tool} refused line {match['line']}, none of these",
                        hint=_HINT,
                    )
                failed.append(at)
                continue
            output.append(line)

    def _until_echo(self, deadline: Deadline, what: str) -> tuple[list[str], int]:
        output: list[str] = []
        end = f"wire end {self._number} "
        while True:
            line = self._next(deadline, what)
            if line.startswith(end):
                return output, int(line.removeprefix(end))
            output.append(line)

    def _next(self, deadline: Deadline, what: str) -> str:
        try:
            line = self._lines.get(timeout=deadline.timeout())
        except queue.Empty:
            raise self._gone(what, f"no answer in time ({deadline.what})") from None
        if line is None:
            self._lines.put(None)  # the next to ask learns it too
            raise self._gone(what, self._dead or "its container ended")
        self._last = [*self._last[-19:], line]
        if line.startswith("wire unable "):
            raise NothingImpairs(f"{self._name}: {line.removeprefix('wire unable ')}", hint=_HINT)
        if line.startswith("wire failed "):
            raise self._gone(what, line.removeprefix("wire failed "))
        if line.startswith("wire dead "):
            raise self._gone(what, f"user-mode Linux ended with status {line.removeprefix('wire dead ')}")
        return line

    def _gone(self, what: str, why: str) -> WireError:
        last = [*self._last, *self._stream.stderr_tail().splitlines()][-20:]
        tail = "\n".join(f"  {line}" for line in last)
        return WireError(
            f"{self._name}: {what}: {why}" + (f"\nits last output:\n{tail}" if tail else ""), hint=_HINT
        )

    def close(self) -> None:
        """Ends the wire by closing its container's stdin. May be called twice."""
        self._stream.close()
        self._reader.join(timeout=5.0)


def _parts(tool: Tool, lines: Sequence[str]) -> Iterator[list[str]]:
    """The lines in portions that the console can hold. `out` has no console."""
    part: list[str] = []
    size = 0
    for line in lines:
        length = len(line) + 1
        if length > ROOM and tool != "out":
            raise WireError(
                f"{tool}: a line of {length} bytes is longer than the console's {ROOM}: {line[:80]}…"
            )
        if part and (size + length > ROOM or tool not in ("tc", "ip")):
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    yield part
