"""The log that the engine keeps of a container, line by line, with the engine's stamps."""

from __future__ import annotations

import socket
import threading
from collections import deque
from dataclasses import dataclass, field

from lab.clock import NS
from lab.engine.base import LINE_LIMIT, LogLine, StreamName
from lab.engine.bodies import stamp_ns
from lab.engine.endpoint import Endpoint
from lab.engine.stream import STDERR, Frames, Refused, hang_up, hijack
from lab.errors import EngineError

_OVERLAP = 1  # s: stamps of stdout and stderr are not quite in the order in which the engine writes them


@dataclass
class LinesOf:
    """Joins the engine's pieces of one stream into lines.

    The engine cuts a line of more than 16 KiB into pieces, each with its own stamp; the first one counts.
    """

    stream: StreamName
    _time_ns: int = 0
    _text: bytearray = field(default_factory=bytearray)
    _whole: bool = True
    _open: bool = False

    def add(self, time_ns: int, piece: bytes) -> LogLine | None:
        """The line that this piece ends, if it does."""
        if not self._open:
            self._open, self._time_ns = True, time_ns
        text, newline = (piece[:-1], True) if piece.endswith(b"\n") else (piece, False)
        room = LINE_LIMIT - len(self._text)
        self._whole = self._whole and len(text) <= room
        self._text += text[:room]
        return self.end() if newline else None

    def end(self) -> LogLine | None:
        """What follows the last newline is a line too."""
        if not self._open:
            return None
        line = LogLine(self.stream, self._time_ns, bytes(self._text), self._whole)
        self._text.clear()
        self._open, self._whole = False, True
        return line


class DockerLogs:
    """`LogStream` on a Docker engine: one connection, read by whoever calls `read`.

    An engine drops the followers of a log when the container ends, even with lines unread: 8 of
    25 short programs lost their last lines on 20.10. What follows the last piece is then read from the log.
    """

    def __init__(
        self, endpoint: Endpoint, version: str, container_id: str, *, follow: bool, last: int | None = None
    ) -> None:
        self._what = f"read the log of container {container_id[:12]}"
        self._endpoint = endpoint
        self._path = f"/v{version}/containers/{container_id}/logs?stdout=1&stderr=1&timestamps=1"
        self._follow = follow
        tail = "" if last is None else f"&tail={last}"
        self._connection, rest = self._asked(f"&follow={int(follow)}{tail}")
        self._frames = Frames(self._connection.recv, rest)
        self._last: tuple[int, bytes] | None = None
        self._lines: dict[int, LinesOf] = {}
        self._ready: deque[LogLine] = deque()
        self._closed = False
        self._ended = False
        self._reading = threading.Lock()

    def read(self) -> LogLine | None:
        with self._reading:
            while not self._ready and not self._ended:
                self._read_frame()
            return self._ready.popleft() if self._ready and not self._closed else None

    def close(self) -> None:
        self._closed = True
        hang_up(self._connection, self._reading)

    def _asked(self, more: str) -> tuple[socket.socket, bytes]:
        # HTTP 1.0: the body is the stream itself, without chunks, to the end of the connection.
        return hijack(self._endpoint, self._path + more, method="GET", protocol="HTTP/1.0", what=self._what)

    def _read_frame(self) -> None:
        frame = self._next(self._frames)
        if frame is not None:
            self._last = frame
            self._take(frame)
            return
        self._connection.close()
        if self._follow and not self._closed:
            self._catch_up()
        self._ended = True
        self._ready += [line for lines in self._lines.values() if (line := lines.end()) is not None]

    def _next(self, frames: Frames) -> tuple[int, bytes] | None:
        try:
            return frames.read()
        except OSError as error:
            if self._closed:
                return None
            self._ended = True
            self._connection.close()
            raise EngineError(f"{self._what}: the connection broke: {error}") from error

    def _take(self, frame: tuple[int, bytes]) -> None:
        kind, data = frame
        stamp, _, piece = data.partition(b" ")
        lines = self._lines.setdefault(kind, LinesOf("stderr" if kind == STDERR else "stdout"))
        line = lines.add(stamp_ns(stamp.decode("ascii", "replace")) or 0, piece)
        if line is not None:
            self._ready.append(line)

    def _catch_up(self) -> None:
        since = 0
        if self._last is not None:
            stamp = stamp_ns(self._last[1].partition(b" ")[0].decode("ascii", "replace")) or 0
            since = max(0, stamp // NS - _OVERLAP)
        try:
            self._connection, rest = self._asked(f"&follow=0&since={since}")
        except Refused:
            return  # the container was removed, and its log with it
        frames = Frames(self._connection.recv, rest)
        missed: list[tuple[int, bytes]] = []
        with self._connection:
            while (frame := self._next(frames)) is not None:
                if frame == self._last:
                    missed.clear()
                else:
                    missed.append(frame)
        for frame in missed:
            self._take(frame)
