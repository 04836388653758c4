"""The calls that send: a blocking send() takes everything; with a time-out it takes what fits."""

from __future__ import annotations

import socket
from typing import Any

from . import recipe
from .call import Call
from .message_flags import flags_of
from .opening import make, opened, target, wait_for_handshake
from .sockets import Named
from .waiting import POLLOUT

HELD_WHOLE = 16 << 20  #: data up to this size goes to the kernel in one piece, as a program's buffer would


def _pieces(what: Any) -> list[bytes] | Any:
    """The data in one piece if it is small enough, otherwise piece by piece."""
    if recipe.length(what) <= HELD_WHOLE:
        return [b"".join(recipe.chunks(what))]
    return recipe.chunks(what)


def _send_all(call: Call, named: Named, *, once: bool) -> None:
    """Send all the data; with `once`, after the first byte, only what one non-blocking send() takes.

    Between the pieces of data too large to hold, MSG_MORE keeps the kernel from sending a short segment that
    one large send() would not have sent.
    """
    left = recipe.length(call.args["data"])
    call.sent_bytes = 0
    pieces = _pieces(call.args["data"])
    call.begin()
    asked = flags_of(call)
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
    """One non-blocking send(); 0 if a blocking one would wait. Hashed in the order of the stream."""
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
    """send(2). Blocking, it returns when all is taken; otherwise, or with a time-out, it takes what fits."""
    named = call.use(call.args["on"])
    if named.kind == "udp":
        _send_datagram(call, named, None)
        return
    timeless = not call.has_timeout and named.timeout_ns is None and named.send_limit_ns is None
    try:
        _send_all(call, named, once=not timeless)
    except OSError as error:
        # Like the kernel: return what was taken; the error waits for the next call.
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
    family, address = target(call)
    name = call.args["on"]
    if call.sockets.has(name):
        named = call.use(name)
    else:
        call.args["as"] = name
        opens = "MSG_FASTOPEN" in (call.args.get("flags") or ())
        named = make(call, call.args.get("kind") or ("tcp" if opens else "udp"), family)
    if named.kind == "tcp":
        _send_opening(call, named, address)
    else:
        _send_datagram(call, named, address)


def _send_opening(call: Call, named: Named, address: Any) -> None:
    """sendto() on TCP: with MSG_FASTOPEN it connects; the data goes with the SYN if there is a cookie."""
    view = memoryview(b"".join(recipe.chunks(call.args["data"])))
    call.begin()
    flags = flags_of(call)
    try:
        taken = call.once(named, lambda: named.sock.sendto(view, flags, address))
    except BlockingIOError:  # no cookie: the SYN asks for one, and the data follows the handshake
        if not call.blocking:
            raise
        wait_for_handshake(call, named)
        taken = call.attempt(named, POLLOUT, lambda: named.sock.send(view, flags & ~socket.MSG_FASTOPEN))
    opened(call, named, address)
    call.took(named, view[:taken])
    call.result = taken


def _send_datagram(call: Call, named: Named, address: Any) -> None:
    view = memoryview(b"".join(recipe.chunks(call.args["data"])))
    call.begin()
    flags = flags_of(call)
    if address is None:
        taken = call.attempt(named, POLLOUT, lambda: named.sock.send(view, flags))
    else:
        taken = call.attempt(named, POLLOUT, lambda: named.sock.sendto(view, flags, address))
    call.took(named, view[:taken])
    call.result = None if call.name == "sendall" else taken
