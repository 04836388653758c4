"""A socket of a host: each method is one call there, with the keys and defaults of the step of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from lab.api.call import Call, Off, On
from lab.api.errors import ProcessKilled, raised
from lab.api.steps import Bytes, Time, Timeout
from lab.errors import LabError
from lab.evidence.model import CallRecord, Endpoint

if TYPE_CHECKING:
    from lab.api.host import Caller

__tracebackhide__ = True  #: a failed test shows its own lines, not these

T = TypeVar("T")
Address = tuple[str, int]
Payload = Bytes | Mapping[str, Any]  #: bytes, or the recipe of a step's `data`


class Datagram(tuple[bytes, "Address | None"]):
    """What `recvfrom` gives: `data, peer = s.recvfrom(100)`. `truncated`: the datagram was longer."""

    truncated: bool

    def __new__(cls, data: bytes, peer: Address | None, truncated: bool) -> Datagram:
        self = super().__new__(cls, (data, peer))
        self.truncated = truncated
        return self

    @property
    def data(self) -> bytes:
        return self[0]

    @property
    def peer(self) -> Address | None:
        return self[1]


class Last:
    """The record of a socket's last call; `record` has all of it."""

    def __init__(self, record: CallRecord) -> None:
        self.record = record

    @property
    def elapsed(self) -> float:
        """Seconds, by the host's clock."""
        return self.record.elapsed_ns / 1e9

    @property
    def start(self) -> float:
        """Seconds of the Unix epoch."""
        return self.record.start_wall_ns / 1e9

    @property
    def end(self) -> float:
        """Seconds of the Unix epoch."""
        return self.record.end_wall_ns / 1e9

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record, name)

    def __repr__(self) -> str:
        return f"<{self.record.call} at {self.record.host}, {self.elapsed:.6f} s>"


_NO_SOCKET = "no socket "  #: how the agent's message begins where a process has no such socket


class Socket:
    """A socket by its name in a process of a host. Usable from any thread.

    Calls raise what Python's own socket would raise: an `OSError` subclass with the errno of the host,
    `TimeoutError` (errno None) for the socket's own time-out, `EOFError` of `recv_exactly` at the end of the
    stream, `lab.ProcessKilled` where its process ended. `timeout` is a duration text or seconds; without one
    the call waits for as long as the socket does.
    """

    def __init__(self, process: Caller, name: str) -> None:
        self.process = process
        self.name = name
        self._last: CallRecord | None = None
        self._closed = False

    @property
    def host(self) -> str:
        return self.process.at

    @property
    def last(self) -> Last:
        """The record of the last call on this socket: `.elapsed` (seconds), `.start`, `.end`, `.error` …"""
        if self._last is None:
            raise LabError(f"no call on {self.name} has ended yet")
        return Last(self._last)

    @property
    def local(self) -> Address | None:
        """getsockname() as of the last call."""
        return _pair(self._last.local) if self._last is not None else None

    @property
    def remote(self) -> Address | None:
        """getpeername() as of the last call."""
        return _pair(self._last.remote) if self._last is not None else None

    @property
    def peer(self) -> Address | None:
        return self.remote

    # --- calls ---

    def bind(self, port: int, *, address: str = "any", **keys: Any) -> None:
        """`port` 0 lets the kernel choose: then `local` has it."""
        self._do("bind", _nothing, port=port, address=address, **keys)

    def listen(self, backlog: int = 5, **keys: Any) -> None:
        self._do("listen", _nothing, backlog=backlog, **keys)

    def connect(self, to: str, *, timeout: Timeout = None, **keys: Any) -> None:
        """`to` is `host:port`."""
        self._do("connect", _nothing, to=to, timeout=timeout, **keys)

    @overload
    def accept(self, *, timeout: Timeout = ..., background: Off = ..., **keys: Any) -> Socket: ...
    @overload
    def accept(self, *, timeout: Timeout = ..., background: On, **keys: Any) -> Call[Socket]: ...
    def accept(
        self, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> Socket | Call[Socket]:
        """The next connection, as a socket of its own; its `peer` is the other end."""
        name = keys.pop("as_", None) or self.process.net.fresh("accept")
        made = Socket(self.process, name)

        def convert(record: CallRecord) -> Socket:
            made._last = record
            return made

        return self._do("accept", convert, timeout=timeout, background=background, as_=name, **keys)

    @overload
    def send(self, data: Payload, *, timeout: Timeout = ..., background: Off = ..., **keys: Any) -> int: ...
    @overload
    def send(self, data: Payload, *, timeout: Timeout = ..., background: On, **keys: Any) -> Call[int]: ...
    def send(
        self, data: Payload, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> int | Call[int]:
        """How many bytes the kernel took."""
        return self._do("send", _count, data=data, timeout=timeout, background=background, **keys)

    @overload
    def sendall(
        self, data: Payload, *, timeout: Timeout = ..., background: Off = ..., **keys: Any
    ) -> None: ...
    @overload
    def sendall(
        self, data: Payload, *, timeout: Timeout = ..., background: On, **keys: Any
    ) -> Call[None]: ...
    def sendall(
        self, data: Payload, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> Call[None] | None:
        """Returns when the kernel has taken all."""
        return self._do("sendall", _nothing, data=data, timeout=timeout, background=background, **keys)

    @overload
    def sendto(
        self, data: Payload, to: str, *, timeout: Timeout = ..., background: Off = ..., **keys: Any
    ) -> int: ...
    @overload
    def sendto(
        self, data: Payload, to: str, *, timeout: Timeout = ..., background: On, **keys: Any
    ) -> Call[int]: ...
    def sendto(
        self, data: Payload, to: str, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> int | Call[int]:
        """Sends a datagram to `host:port`. Returns how many bytes the kernel took."""
        return self._do("sendto", _count, data=data, to=to, timeout=timeout, background=background, **keys)

    @overload
    def recv(
        self, size: int | str, *, timeout: Timeout = ..., background: Off = ..., **keys: Any
    ) -> bytes: ...
    @overload
    def recv(
        self, size: int | str, *, timeout: Timeout = ..., background: On, **keys: Any
    ) -> Call[bytes]: ...
    def recv(
        self, size: int | str, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> bytes | Call[bytes]:
        """At most `size` bytes; b"" at the end of the stream."""
        return self._do("recv", _data, size=size, timeout=timeout, background=background, **keys)

    @overload
    def recv_exactly(
        self, size: int | str, *, timeout: Timeout = ..., background: Off = ..., **keys: Any
    ) -> bytes: ...
    @overload
    def recv_exactly(
        self, size: int | str, *, timeout: Timeout = ..., background: On, **keys: Any
    ) -> Call[bytes]: ...
    def recv_exactly(
        self, size: int | str, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> bytes | Call[bytes]:
        """`size` bytes, in as many recv() as it takes; `timeout` is the total.

        Raises `EOFError` where the stream ends first.
        """
        return self._do("recv_exactly", _data, size=size, timeout=timeout, background=background, **keys)

    @overload
    def peek(
        self, size: int | str, *, timeout: Timeout = ..., background: Off = ..., **keys: Any
    ) -> bytes: ...
    @overload
    def peek(
        self, size: int | str, *, timeout: Timeout = ..., background: On, **keys: Any
    ) -> Call[bytes]: ...
    def peek(
        self, size: int | str, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> bytes | Call[bytes]:
        """As `recv`, but the data stays for the next call."""
        return self._do("peek", _data, size=size, timeout=timeout, background=background, **keys)

    @overload
    def recvfrom(
        self, size: int | str, *, timeout: Timeout = ..., background: Off = ..., **keys: Any
    ) -> Datagram: ...
    @overload
    def recvfrom(
        self, size: int | str, *, timeout: Timeout = ..., background: On, **keys: Any
    ) -> Call[Datagram]: ...
    def recvfrom(
        self, size: int | str, *, timeout: Timeout = None, background: bool = False, **keys: Any
    ) -> Datagram | Call[Datagram]:
        """`data, peer = s.recvfrom(100)`; the result also has `.truncated`."""
        return self._do("recvfrom", _datagram, size=size, timeout=timeout, background=background, **keys)

    @overload
    def drain(self, *, timeout: Timeout = ..., background: Off = ..., **keys: Any) -> bytes: ...
    @overload
    def drain(self, *, timeout: Timeout = ..., background: On, **keys: Any) -> Call[bytes]: ...
    def drain(self, *, timeout: Timeout = None, background: bool = False, **keys: Any) -> bytes | Call[bytes]:
        """Everything up to the end of the stream, at most 64 MB; `timeout` is the total."""
        return self._do("drain", _data, timeout=timeout, background=background, **keys)

    def settimeout(self, value: Time | None, **keys: Any) -> None:
        """None (or "none") waits forever, 0 does not block."""
        self._do("settimeout", _nothing, value="none" if value is None else value, **keys)

    def setsockopt(self, option: str, value: Any, **keys: Any) -> None:
        """`option` is the constant's name: `TCP_NODELAY`."""
        value = int(value) if isinstance(value, bool) else value
        self._do("setsockopt", _nothing, option=option, value=value, **keys)

    def getsockopt(self, option: str, **keys: Any) -> Any:
        return self._do("getsockopt", lambda record: record.result, option=option, **keys)

    def shutdown(self, how: Literal["read", "write", "both"], **keys: Any) -> None:
        self._do("shutdown", _nothing, how=how, **keys)

    def close(self, **keys: Any) -> None:
        """As with Python's own, a second one does nothing."""
        if not self._closed:
            self._do("close", _nothing, **keys)
            self._closed = True

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_error: object) -> None:
        """Closes it, unless it is closed already."""
        try:
            self.close()
        except OSError:
            return

    def __repr__(self) -> str:
        return f"<Socket {self.name} of process {self.process.of} at {self.process.at}>"

    # --- inside ---

    def _do(self, do: str, convert: Callable[[CallRecord], T], **keys: Any) -> T | Call[T]:
        value: T | Call[T] = self.process.call(do, self._ended(convert), on=self.name, **keys)
        return value

    def _ended(self, convert: Callable[[CallRecord], T]) -> Callable[[CallRecord], T]:
        """Keeps the record as the last one, and raises what Python's own socket would."""

        def end(record: CallRecord) -> T:
            before, self._last = self._last, record
            if (
                before is not None
                and record.error is not None
                and record.error.message.startswith(_NO_SOCKET)
            ):
                # It existed, so the process that answers is another one, started since.
                text = f"the process {record.process} of {record.host}, which had {self.name}, has ended"
                raise ProcessKilled(text, record)
            error = raised(record)
            if error is not None:
                raise error
            return convert(record)

        return end


def _pair(end: Endpoint | None) -> Address | None:
    return None if end is None else (end.address, end.port)


def _nothing(_record: CallRecord) -> None:
    return None


def _count(record: CallRecord) -> int:
    return int(record.result or 0)


def _data(record: CallRecord) -> bytes:
    data = record.data or b""
    if record.length is not None and len(data) < record.length:
        raise LabError(
            f"{record.call} at {record.host}: {record.length} bytes came, of which {len(data)} are at hand",
            hint="take it in several calls: one gives at most 64 MB; socket.last.sha256 is of all",
        )
    return data


def _datagram(record: CallRecord) -> Datagram:
    return Datagram(_data(record), _pair(record.peer), bool(record.truncated))
