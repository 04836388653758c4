"""The calls that receive: one recv(), an exact count, or all up to the end of the stream."""

from __future__ import annotations

import errno
import socket
from typing import Any

from .call import Call, EndOfStream, TimedOut
from .message_flags import flags_of
from .sockets import Named
from .waiting import POLLIN

PIECE = 256 << 10  #: bytes of each recv() when reading up to the end


def do_recv(call: Call) -> None:
    _receive(call, 0)


def do_peek(call: Call) -> None:
    _receive(call, socket.MSG_PEEK)


def _receive(call: Call, flags: int) -> None:
    named = call.use(call.args["on"])
    size = int(call.args["size"])
    call.begin()
    flags |= flags_of(call)
    if flags & socket.MSG_WAITALL and named.kind == "tcp":
        _receive_all(call, named, size, flags & ~socket.MSG_WAITALL)
        return
    while (data := _try_receive(call, named, size, flags)) is None:
        call.wait(named, POLLIN)
    call.eof = named.kind == "tcp" and not data and size > 0 and not flags & socket.MSG_OOB


def _receive_all(call: Call, named: Named, size: int, flags: int) -> None:
    """recv(MSG_WAITALL): all of `size`; less if the stream, a signal or SO_RCVTIMEO ends the wait.

    Under settimeout the descriptor does not block, so the flag has no effect: recv() returns what is there.
    """
    alone = call.has_timeout or named.timeout_ns is not None or not call.blocking
    left = size
    while left > 0:
        try:
            data = _try_receive(call, named, left, flags)
            if data is None:
                call.wait(named, POLLIN)
                continue
        except OSError as error:
            if error.errno == errno.EAGAIN and left < size:
                return
            raise
        left -= len(data)
        if not data:
            call.eof = left == size
            return
        if alone:
            return


def _try_receive(call: Call, named: Named, size: int, flags: int = 0) -> bytes | None:
    """One non-blocking recv(); None if a blocking one would wait. Hashed in the order of the stream."""
    with named.receiving:
        whole = None
        try:
            if flags & socket.MSG_TRUNC:
                data, whole, address = call.once(named, lambda: _receive_truncated(named, size, flags))
                _came_from(call, address)
            elif named.kind == "udp":
                data, address = call.once(named, lambda: named.sock.recvfrom(size, flags))
                _came_from(call, address)
            else:
                data = call.once(named, lambda: named.sock.recv(size, flags))
        except BlockingIOError:
            if not call.blocking or flags & socket.MSG_OOB:  # there is no wait for urgent data
                raise
            return None
        # Peeked data and an out-of-band byte are not part of the stream.
        call.came(named, data, peeked=bool(flags & (socket.MSG_PEEK | socket.MSG_OOB)), whole=whole)
        return data


def _receive_truncated(named: Named, size: int, flags: int) -> tuple[bytes, int, Any]:
    """The data that fits, the full length, the sender. On a stream, the kernel discards what it counts."""
    buffer = bytearray(size)
    whole, address = named.sock.recvfrom_into(buffer, size, flags)
    return bytes(buffer[:whole]) if named.kind == "udp" else b"", whole, address


def _receive_on(call: Call, named: Named, wanted: int | None) -> bool:
    """Receive up to `wanted` bytes or, for None, to the end of the stream; False if the stream ended.

    A time-out of the call covers the whole; a time-out of the socket applies to each recv().
    """
    left = wanted
    while left is None or left > 0:
        data = _try_receive(call, named, PIECE if left is None else min(PIECE, left))
        if data is None:
            call.wait(named, POLLIN)
            continue
        if not data and named.kind == "tcp":
            return False
        left = None if left is None else left - len(data)
        if not call.has_timeout:
            call.restart_timeout()
        call.check()
    return True


def do_recv_exactly(call: Call) -> None:
    named = call.use(call.args["on"])
    size = int(call.args["size"])
    call.begin()
    call.came(named, b"", peeked=True)
    try:
        ended = not _receive_on(call, named, size)
    except TimedOut:
        raise TimedOut(f"{_came(call)} of {size} bytes had come and are no longer in the socket") from None
    if ended:
        raise EndOfStream(f"the peer closed after {_came(call)} of {size} bytes")


def _came(call: Call) -> int:
    return call.received.length if call.received else 0


def do_drain(call: Call) -> None:
    named = call.use(call.args["on"])
    call.begin()
    call.came(named, b"", peeked=True)
    _receive_on(call, named, None)
    call.eof = True


def do_recvfrom(call: Call) -> None:
    named = call.use(call.args["on"])
    size = int(call.args["size"])
    call.begin()
    asked = flags_of(call)
    whole: int | None = None
    if asked & socket.MSG_TRUNC:
        data, whole, address = call.attempt(named, POLLIN, lambda: _receive_truncated(named, size, asked))
        call.truncated = whole > size
    else:
        data, _, flags, address = call.attempt(named, POLLIN, lambda: named.sock.recvmsg(size, 0, asked))
        call.truncated = bool(flags & socket.MSG_TRUNC)
    call.came(named, data, peeked=bool(asked & (socket.MSG_PEEK | socket.MSG_OOB)), whole=whole)
    call.eof = named.kind == "tcp" and not data and size > 0
    _came_from(call, address)


def _came_from(call: Call, address: Any) -> None:
    if isinstance(address, tuple):
        call.peer = (str(address[0]).removeprefix("::ffff:"), int(address[1]))
