"""Lines over a descriptor: cut out of what arrives, queued if they cannot be written at once."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any

from .loop import Loop

CHUNK = 1 << 18
LONGEST = 160 << 20  #: bytes of a line: a call's 64 MB, in hex


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class LineReader:
    """Cuts a descriptor's input into lines."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = bytearray()
        self.ended = False

    def take(self) -> list[bytes]:
        """Read once; return the complete lines so far. Sets `ended` at the end of the stream."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return []
        self._rest += data
        if b"\n" not in data:
            if len(self._rest) > LONGEST:
                self.ended = True  # no line is that long: whatever it is, no more of it is kept
                self._rest.clear()
            return []
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        return lines


class Outbox:
    """A queue of output to a non-blocking descriptor that never blocks the loop.

    A process under SIGSTOP reads nothing: writing to it directly could block the agent too.
    """

    def __init__(self, loop: Loop, fd: int, *, close_when_empty: bool = False) -> None:
        self._loop = loop
        self._fd = fd
        self._queue: deque[memoryview] = deque()
        self._close_when_empty = close_when_empty
        self._watching = False
        self.broken = False

    def send(self, data: bytes) -> None:
        if not self.broken:
            self._queue.append(memoryview(data))
            self._flush()

    def _flush(self) -> None:
        while self._queue:
            try:
                written = os.write(self._fd, self._queue[0])
            except BlockingIOError:
                break
            except (BrokenPipeError, ConnectionResetError):
                self.broken = True
                self._queue.clear()
                break
            self._queue[0] = self._queue[0][written:]
            if not self._queue[0]:
                self._queue.popleft()
        self._watch(bool(self._queue))
        if not self._queue and self._close_when_empty:
            self.close()

    def _watch(self, wanted: bool) -> None:
        if wanted != self._watching:
            self._watching = wanted
            self._loop.write(self._fd, self._flush if wanted else None)

    def close(self) -> None:
        """Drop what is unwritten and close the descriptor."""
        if self._fd >= 0:
            self._queue.clear()
            self._watch(False)
            os.close(self._fd)
            self._fd = -1
            self.broken = True
