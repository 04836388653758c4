"""The socket calls of a scenario, each as the kernel has it: what Linux would do is what is done.

A blocking call on these non-blocking descriptors is the call itself, and while it says EAGAIN, a wait. What
that would change is put right here: a blocking send() takes everything, a close() under a blocked recv()
sends no FIN till the recv() is over.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from . import options, recipe
from .call import Call, EndOfStream, TimedOut
from .sockets import FAMILIES, Kind, Named, short
from .waiting import POLLIN, POLLOUT

HELD_WHOLE = 16 << 20  #: data up to here goes to the kernel in one piece, as a program's buffer would
PIECE = 256 << 10  #: of a read that goes on to the end
#: Flags of send and recv by name (linux/socket.h).
FLAGS = {
    name: getattr(socket, name)
    for name in (
        *("MSG_OOB", "MSG_PEEK", "MSG_DONTROUTE", "MSG_TRUNC", "MSG_DONTWAIT", "MSG_WAITALL"),
        *("MSG_CONFIRM", "MSG_NOSIGNAL", "MSG_MORE", "MSG_FASTOPEN"),
    )
}
#: What poll() is asked for and answers, by name.
EVENTS = {
    name: getattr(select, f"POLL{name.upper()}")
    for name in ("in", "pri", "out", "rdhup", "err", "hup", "nval")
}
ANY = {"ipv4": "0.0.0.0", "ipv6": "::"}


def resolve(host: str, port: int, family: str | None) -> tuple[str, Any]:
    """Family and address of a name. Comes before a call, never inside its elapsed time.

    A literal address needs no resolver, and so no descriptor.
    """
    if ":" in host and family is None:
        family = "ipv6"
    try:
        socket.inet_pton(FAMILIES[family or "ipv4"], host)
        return family or "ipv4", ((host, port, 0, 0) if family == "ipv6" else (host, port))
    except OSError:
        pass
    try:
        found = socket.getaddrinfo(host, port, FAMILIES[family or "ipv4"], socket.SOCK_STREAM)
    except socket.gaierror as error:
        text = f"the name {host!r} has no {family or 'ipv4'} address: {error.strerror}"
        raise socket.gaierror(error.errno, text) from error
    return family or "ipv4", found[0][4]


def _target(call: Call) -> tuple[str, Any]:
    host, port = call.args["to"]
    return resolve(host, port, call.args.get("family"))


def _bind_address(call: Call, named: Named) -> Any:
    family = "ipv6" if named.sock.family == socket.AF_INET6 else "ipv4"
    return resolve(call.args.get("address") or ANY[family], int(call.args.get("port") or 0), family)[1]


def _make(call: Call, kind: Kind, family: str | None = None) -> Named:
    """A new socket under `as`, outside the call's elapsed time."""
    name = call.args.get("as") or call.args["step"]
    return call.enter(call.sockets.open(name, kind, family or call.args.get("family") or "ipv4"))


# -- making and naming -----------------------------------------------------------------------------


def do_socket(call: Call) -> None:
    """With `count`, that many under `as`0, `as`1 …; the result is how many were made."""
    count = call.args.get("count")
    kind: Kind = call.args.get("kind") or "tcp"
    family = call.args.get("family") or "ipv4"
    if count is None:
        call.sockets.check_free(call.args.get("as") or call.args["step"])
        call.begin()
        _make(call, kind)
        call.stamp()
        call.result = 1
        return
    call.result = 0
    call.begin()
    for index in range(count):
        try:
            call.used = call.sockets.open(f"{call.args['as']}{index}", kind, family)
        finally:
            call.stamp()
        call.result += 1
        call.check()


def do_bind(call: Call) -> None:
    name = call.args.get("on")
    if name is not None and call.sockets.has(name):
        named = call.use(name)
    else:
        call.args.setdefault("as", name)
        named = _make(call, call.args.get("kind") or "tcp")
    address = _bind_address(call, named)
    call.begin()
    call.attempt(named, POLLIN, lambda: named.sock.bind(address))


def do_listen(call: Call) -> None:
    name = call.args.get("on")
    named = call.use(name) if name is not None else _make(call, "tcp")
    backlog = int(call.args.get("backlog", 5))
    address = _bind_address(call, named) if call.args.get("port") is not None else None
    call.begin()
    if address is not None:
        call.attempt(named, POLLIN, lambda: named.sock.bind(address))
    call.attempt(named, POLLIN, lambda: named.sock.listen(backlog))


def do_accept(call: Call) -> None:
    listener = call.use(call.args["on"])
    name = call.args.get("as") or call.args["step"]
    call.sockets.check_free(name)
    call.begin()
    connection, address = call.attempt(listener, POLLIN, listener.sock.accept)
    named = call.sockets.put(Named(name, connection, "tcp"))
    named.remote = short(address)  # getpeername() fails where the peer has reset it already
    call.used = named
    call.peer = named.remote
    call.sockets.stream(named)


def do_connect(call: Call) -> None:
    family, address = _target(call)
    name = call.args.get("on")
    named = call.use(name) if name is not None else _make(call, call.args.get("kind") or "tcp", family)
    from_port = call.args.get("from_port")
    if from_port is not None:
        named.sock.bind((ANY[family], int(from_port)))
    call.begin()
    try:
        named.sock.connect(address)
    except BlockingIOError:  # EINPROGRESS, or EALREADY for a connect that was begun before
        call.stamp()
        if not call.blocking:
            raise
        call.wait(named, POLLOUT)
        code = named.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code)) from None
    except OSError:
        call.stamp()
        raise
    else:
        call.stamp()
    _opened(call, named, address)


def _opened(call: Call, named: Named, address: Any) -> None:
    """Connected, or with Fast Open about to be: getpeername() fails until the SYN-ACK is there."""
    named.remote = short(address)
    call.sockets.stream(named)


# -- sending ---------------------------------------------------------------------------------------


def _pieces(what: Any) -> list[bytes] | Any:
    """The data whole where it fits, else piece by piece."""
    if recipe.length(what) <= HELD_WHOLE:
        return [b"".join(recipe.chunks(what))]
    return recipe.chunks(what)


def _flags(call: Call) -> int:
    """The flags of a call; MSG_DONTWAIT keeps it from waiting."""
    flags = 0
    for name in call.args.get("flags") or ():
        flags |= FLAGS[name]
    if flags & socket.MSG_DONTWAIT:
        call.blocking = False
    return flags


def _send_all(call: Call, named: Named, *, once: bool) -> None:
    """To the end of the data; `once`: as far as one send() that does not block goes, after the first byte.

    Between the pieces of data too large to hold, MSG_MORE keeps the kernel from sending a short segment that
    one large send() would not have sent.
    """
    left = recipe.length(call.args["data"])
    call.sent_bytes = 0
    pieces = _pieces(call.args["data"])
    call.begin()
    asked = _flags(call)
    for piece in pieces:
        view = memoryview(piece)
        left -= len(view)
        flags = asked | (socket.MSG_MORE if left else 0)
        while True:
            taken = _try_send(call, named, view, flags)
            if once and call.sent_bytes and taken < len(view):
                return
            view = view[taken:]
            if not view:
                break
            if taken:
                call.check()
            else:
                call.wait(named, POLLOUT)


def _try_send(call: Call, named: Named, view: memoryview, flags: int) -> int:
    """One send() that does not block; 0 where a blocking one would wait. Hashed in the order of the wire."""
    with named.sending:
        try:
            taken = call.once(named, lambda: named.sock.send(view, flags))
        except BlockingIOError:
            if not call.blocking:
                raise
            return 0
        call.took(named, view[:taken])
        return taken


def do_send(call: Call) -> None:
    """A blocking send() returns when all is taken; with a time-out, or non-blocking, what fits."""
    named = call.use(call.args["on"])
    if named.kind == "udp":
        _send_datagram(call, named, None)
        return
    timeless = not call.has_timeout and named.timeout_ns is None and named.send_limit_ns is None
    try:
        _send_all(call, named, once=not timeless)
    except OSError as error:
        # Like the kernel: what was taken is returned, the error waits for the next call.
        if not call.sent_bytes:
            raise
        if not isinstance(error, BlockingIOError):
            named.owed = error
    call.result = call.sent_bytes


def do_sendall(call: Call) -> None:
    named = call.use(call.args["on"])
    if named.kind == "udp":
        _send_datagram(call, named, None)
    else:
        _send_all(call, named, once=False)


def do_sendto(call: Call) -> None:
    family, address = _target(call)
    name = call.args["on"]
    if call.sockets.has(name):
        named = call.use(name)
    else:
        call.args["as"] = name
        opens = "MSG_FASTOPEN" in (call.args.get("flags") or ())
        named = _make(call, call.args.get("kind") or ("tcp" if opens else "udp"), family)
    if named.kind == "tcp":
        _send_opening(call, named, address)
    else:
        _send_datagram(call, named, address)


def _send_opening(call: Call, named: Named, address: Any) -> None:
    """sendto() on TCP: with MSG_FASTOPEN it connects; the data go with the SYN where there is a cookie."""
    view = memoryview(b"".join(recipe.chunks(call.args["data"])))
    call.begin()
    flags = _flags(call)
    try:
        taken = call.once(named, lambda: named.sock.sendto(view, flags, address))
    except BlockingIOError:  # no cookie: the SYN asks for one, and the data follow the handshake
        if not call.blocking:
            raise
        call.wait(named, POLLOUT)
        code = named.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code)) from None
        taken = call.attempt(named, POLLOUT, lambda: named.sock.send(view, flags & ~socket.MSG_FASTOPEN))
    _opened(call, named, address)
    call.took(named, view[:taken])
    call.result = taken


def _send_datagram(call: Call, named: Named, address: Any) -> None:
    view = memoryview(b"".join(recipe.chunks(call.args["data"])))
    call.begin()
    flags = _flags(call)
    if address is None:
        taken = call.attempt(named, POLLOUT, lambda: named.sock.send(view, flags))
    else:
        taken = call.attempt(named, POLLOUT, lambda: named.sock.sendto(view, flags, address))
    call.took(named, view[:taken])
    call.result = None if call.name == "sendall" else taken


# -- receiving -------------------------------------------------------------------------------------


def do_recv(call: Call) -> None:
    _receive(call, 0)


def do_peek(call: Call) -> None:
    _receive(call, socket.MSG_PEEK)


def _receive(call: Call, flags: int) -> None:
    named = call.use(call.args["on"])
    size = int(call.args["size"])
    call.begin()
    flags |= _flags(call)
    if flags & socket.MSG_WAITALL and named.kind == "tcp":
        _receive_all(call, named, size, flags & ~socket.MSG_WAITALL)
        return
    while (data := _try_receive(call, named, size, flags)) is None:
        call.wait(named, POLLIN)
    call.eof = named.kind == "tcp" and not data and size > 0 and not flags & socket.MSG_OOB


def _receive_all(call: Call, named: Named, size: int, flags: int) -> None:
    """recv(MSG_WAITALL): all of `size`; less where the stream ends, or a signal or SO_RCVTIMEO ends the wait.

    Under settimeout the descriptor does not block, and then the flag says nothing: what there is is given.
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
    """One recv() that does not block; None where a blocking one would wait. Hashed in the stream's order."""
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
            if not call.blocking or flags & socket.MSG_OOB:  # urgent data are not waited for
                raise
            return None
        # What is only looked at, and a byte beside the stream, are not of the stream.
        call.came(named, data, peeked=bool(flags & (socket.MSG_PEEK | socket.MSG_OOB)), whole=whole)
        return data


def _receive_truncated(named: Named, size: int, flags: int) -> tuple[bytes, int, Any]:
    """What fits, the length of all, and from whom. Of a stream the kernel throws away what it counts."""
    buffer = bytearray(size)
    whole, address = named.sock.recvfrom_into(buffer, size, flags)
    return bytes(buffer[:whole]) if named.kind == "udp" else b"", whole, address


def _receive_on(call: Call, named: Named, wanted: int | None) -> bool:
    """Up to `wanted` bytes or, for None, to the end of the stream; False when the stream ended.

    A time-out of the call is the total; a time-out of the socket is each recv()'s own.
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
        raise TimedOut(f"{_came(call)} of {size} bytes had come, and are no longer in the socket") from None
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
    asked = _flags(call)
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


# -- the rest --------------------------------------------------------------------------------------


def do_settimeout(call: Call) -> None:
    named = call.use(call.args["on"])
    call.begin()
    named.timeout_ns = call.args["value"]
    call.stamp()


def do_setsockopt(call: Call) -> None:
    named = call.use(call.args["on"])
    call.begin()
    call.attempt(
        named,
        POLLIN,
        lambda: options.set_option(
            named, call.args["level"], call.args["number"], bytes.fromhex(call.args["raw"])
        ),
    )


def do_getsockopt(call: Call) -> None:
    named = call.use(call.args["on"])
    call.begin()
    raw = call.attempt(
        named,
        POLLIN,
        lambda: options.get_option(named, call.args["level"], call.args["number"], call.args["size"]),
    )
    call.result = raw.hex()


def do_poll(call: Call) -> None:
    """poll(2) of one socket or several; nothing in time is the time-out. One that is closed, or was never
    made, is not valid."""
    on = call.args["on"]
    names = [on] if isinstance(on, str) else on
    there = {name: call.sockets.get(name) for name in names if call.sockets.has(name)}
    fds = {name: there[name].fd if name in there and not there[name].closed else -1 for name in names}
    call.used = next(iter(there.values()), None)
    events = 0
    for name in call.args["events"]:
        events |= EVENTS[name]
    call.begin()
    found = call.wait_many(list(fds.values()), events)
    call.result = {
        name: [word for word, bit in EVENTS.items() if bit & (EVENTS["nval"] if fd < 0 else got)]
        for (name, fd), got in zip(fds.items(), found, strict=True)
        if got or fd < 0
    }


HOW = {"read": socket.SHUT_RD, "write": socket.SHUT_WR, "both": socket.SHUT_RDWR}


def do_shutdown(call: Call) -> None:
    named = call.use(call.args["on"])
    how = HOW[call.args["how"]]
    call.begin()
    call.attempt(named, POLLIN, lambda: named.sock.shutdown(how))


def do_close(call: Call) -> None:
    """A call that is blocked on the socket in another thread is not woken and holds it open: no FIN is sent
    until it returns. (Linux frees the number at once; here it stays taken as long.)"""
    named = call.use(call.args["on"])
    call.begin()
    others = call.sockets.close(named, call.number)
    call.stamp()
    if others:
        call.notes.append(
            f"{' and '.join(others)} was in progress on this socket in another thread: Linux does not "
            f"wake it and sends no FIN until it returns; descriptor {named.fd} is freed then"
        )


CALLS: dict[str, Callable[[Call], None]] = {
    "socket": do_socket,
    "bind": do_bind,
    "listen": do_listen,
    "accept": do_accept,
    "connect": do_connect,
    "send": do_send,
    "sendall": do_sendall,
    "sendto": do_sendto,
    "recv": do_recv,
    "recv_exactly": do_recv_exactly,
    "peek": do_peek,
    "recvfrom": do_recvfrom,
    "drain": do_drain,
    "settimeout": do_settimeout,
    "setsockopt": do_setsockopt,
    "getsockopt": do_getsockopt,
    "poll": do_poll,
    "shutdown": do_shutdown,
    "close": do_close,
}
