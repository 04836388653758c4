"""A container's attached stdin, stdout and stderr over one raw connection to the engine."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterable
from typing import BinaryIO

from msgspec import Struct

from lab.engine.endpoint import Endpoint
from lab.errors import EngineError

STDERR = 2  #: the number of this stream in a frame; stdout has 1
_STDERR_TAIL = 8 * 1024
_CHUNK = 64 * 1024
LONGEST_LINE = 160 << 20  #: bytes: 64 MB of a call, in hex


class Refused(EngineError):
    """The engine's answer to a request was an error; `reason` is its text."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.reason = reason


class Upload(Struct, frozen=True):
    """What is sent with a request; `file` is at its start."""

    file: BinaryIO
    size: int  #: bytes
    kind: str  #: its content type


def hijack(
    endpoint: Endpoint,
    path: str,
    body: object | None = None,
    *,
    method: str = "POST",
    protocol: str = "HTTP/1.1",
    upload: Upload | None = None,
    patience: float = 10.0,
    what: str = "",
) -> tuple[socket.socket, bytes]:
    """Asks the API and takes the connection over; whatever followed the answer's head comes along.

    The SDK's own way reads through a buffer and hands out the socket below it, which can lose the first
    bytes of a program that is quick to write. With HTTP/1.0 the answer's body is the rest of the connection.
    """
    if upload is None:
        payload = b"" if body is None else json.dumps(body).encode()
        upload = Upload(io.BytesIO(payload), len(payload), "application/json")
    upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if protocol == "HTTP/1.1" else ""
    head = (
        f"{method} {path} {protocol}\r\nHost: docker\r\n{upgrade}"
        f"Content-Type: {upload.kind}\r\nContent-Length: {upload.size}\r\n\r\n"
    )
    what = what or path
    connection = endpoint.connect(patience)
    try:
        connection.sendall(head.encode())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has answered already: an error
            while chunk := upload.file.read(_CHUNK):
                connection.sendall(chunk)
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(_CHUNK)
            if not chunk:
                raise EngineError(f"{what}: the engine closed the connection: {_text(received)}")
            received += chunk
        answer, _, rest = received.partition(b"\r\n\r\n")
        status = answer.split(b" ", 2)[1:2]
        if status not in ([b"101"], [b"200"]):
            rest += _body_of(connection, answer, len(rest))
            raise Refused(what, _message(rest) or _text(answer.splitlines()[0]))
        connection.settimeout(None)
    except OSError as error:
        connection.close()
        raise EngineError(f"{what}: the engine does not answer: {error}", hint="see `lab doctor`") from error
    except EngineError:
        connection.close()
        raise
    return connection, rest


def _body_of(connection: socket.socket, head: bytes, have: int) -> bytes:
    """The rest of an error's text, by its Content-Length (0 where none is given)."""
    length = 0
    for line in head.splitlines():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    body = b""
    while have + len(body) < length and (chunk := connection.recv(_CHUNK)):
        body += chunk
    return body


def _message(body: bytes) -> str:
    """The text in `{"message": …}`, which is how the API reports an error."""
    try:
        said = json.loads(body)
    except ValueError:
        return _text(body)
    return str(said.get("message", "")).strip() if isinstance(said, dict) else _text(body)


def _text(data: bytes) -> str:
    return data.decode(errors="replace").strip()


def feed(source: Iterable[bytes], connection: socket.socket) -> None:
    """Writes all of the source to a connection, then says that no more comes.

    A far end that is gone needs no more. `shutdown` is the plain socket's: that of a TLS socket ends the
    decryption of what still comes.
    """
    with contextlib.suppress(OSError):
        for data in source:
            connection.sendall(data)
        socket.socket.shutdown(connection, socket.SHUT_WR)


def hang_up(
    connection: socket.socket, reading: threading.Lock, writing: threading.Lock | None = None
) -> None:
    """Ends a connection that others may read from or write to, each under their lock: it wakes them.

    A reader that still sits in recv has the descriptor; it closes it itself, when it has woken up.
    """
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    if writing is not None:
        with writing:
            pass
    if reading.acquire(blocking=False):
        try:
            connection.close()
        finally:
            reading.release()


class Frames:
    """Takes the engine's multiplexed stream apart: 1 byte stream, 3 zero, 4 bytes length, then the data."""

    def __init__(self, recv: Callable[[int], bytes], rest: bytes = b"") -> None:
        self._recv = recv
        self._pending = bytearray(rest)

    def read(self) -> tuple[int, bytes] | None:
        """The next frame, blocking; None at the end. A frame that was cut off is dropped."""
        if not self._fill(8):
            return None
        kind = self._pending[0]
        length = int.from_bytes(self._pending[4:8], "big")
        if not self._fill(8 + length):
            return None
        data = bytes(self._pending[8 : 8 + length])
        del self._pending[: 8 + length]
        return kind, data

    def _fill(self, size: int) -> bool:
        while len(self._pending) < size:
            chunk = self._recv(_CHUNK)
            if not chunk:
                return False
            self._pending += chunk
        return True


class DockerStream:
    """`Stream` on a Docker engine.

    The thread that calls `read_line` reads the socket itself: no thread between, a round trip through `cat`
    takes about 0.15 ms.
    """

    def __init__(self, connection: socket.socket, rest: bytes, name: str) -> None:
        self._connection = connection
        self._frames = Frames(connection.recv, rest)
        self._name = name
        self._line = bytearray()
        self._searched = 0
        self._stderr = bytearray()
        self._ended = False
        self._writing = threading.Lock()
        self._reading = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._writing:
            if self._ended:
                raise EngineError(f"{self._name}: the container has ended, nothing can be written to it")
            try:
                self._connection.sendall(data)
            except OSError as error:
                raise EngineError(f"{self._name}: the container is gone: {error}") from error

    def read_line(self) -> bytes | None:
        with self._reading:
            while True:
                end = self._line.find(b"\n", self._searched)
                if end >= 0:
                    line = bytes(self._line[:end])
                    del self._line[: end + 1]
                    self._searched = 0
                    return line
                self._searched = len(self._line)
                if self._ended or not self._read_frame():
                    return self._last_line()

    def stderr_tail(self) -> str:
        return self._stderr.decode(errors="replace")

    def close(self) -> None:
        """Ends the connection: the container sees the end of its stdin, a reader the end of the stream."""
        self._ended = True
        hang_up(self._connection, self._reading, self._writing)

    def _read_frame(self) -> bool:
        try:
            frame = self._frames.read()
        except OSError:
            frame = None
        if frame is None:
            self.close()
            self._connection.close()
            return False
        kind, data = frame
        if kind == STDERR:
            self._stderr += data
            del self._stderr[:-_STDERR_TAIL]
        else:
            self._line += data
            if len(self._line) > LONGEST_LINE:
                self._line.clear()
                self.close()
                raise EngineError(f"{self._name}: it wrote a line of more than {LONGEST_LINE >> 20} MiB")
        return True

    def _last_line(self) -> bytes | None:
        """What follows the last newline is a line too, once."""
        if not self._line:
            return None
        line = bytes(self._line)
        self._line.clear()
        self._searched = 0
        return line


class DockerMeter:
    """`OutputMeter` on a Docker engine: counts the attached output and looks only at lengths.

    The engine waits for a slow reader, and so does the program: 64 MB are read in 0.1 s.
    """

    def __init__(self, connection: socket.socket, rest: bytes) -> None:
        self._connection = connection
        self._frames = Frames(connection.recv, rest)
        self._reading = threading.Lock()

    def read(self) -> int | None:
        with self._reading:
            try:
                frame = self._frames.read()
            except OSError:
                frame = None
            if frame is None:
                self._connection.close()
                return None
            return len(frame[1])

    def close(self) -> None:
        hang_up(self._connection, self._reading)
