"""The socket calls of a scenario, each behaving as on Linux.

A blocking call on these non-blocking descriptors is the call itself and, while it gives EAGAIN, a wait. The
differences that this would make are corrected here: a blocking send() takes everything, and a close() under a
blocked recv() sends no FIN until the recv() is over.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from . import opening, options, receiving, sending
from .call import Call
from .waiting import POLLIN

#: The events of poll(), by name.
EVENTS = {
    name: getattr(select, f"POLL{name.upper()}")
    for name in ("in", "pri", "out", "rdhup", "err", "hup", "nval")
}


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
    """poll(2) on one or several sockets; no event in time is the time-out. A socket that is closed or was
    never made is invalid."""
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


CALLS: dict[str, Callable[[Call], None]] = {
    "socket": opening.do_socket,
    "bind": opening.do_bind,
    "listen": opening.do_listen,
    "accept": opening.do_accept,
    "connect": opening.do_connect,
    "send": sending.do_send,
    "sendall": sending.do_sendall,
    "sendto": sending.do_sendto,
    "recv": receiving.do_recv,
    "recv_exactly": receiving.do_recv_exactly,
    "peek": receiving.do_peek,
    "recvfrom": receiving.do_recvfrom,
    "drain": receiving.do_drain,
    "settimeout": do_settimeout,
    "setsockopt": do_setsockopt,
    "getsockopt": do_getsockopt,
    "poll": do_poll,
    "shutdown": opening.do_shutdown,
    "close": opening.do_close,
}
