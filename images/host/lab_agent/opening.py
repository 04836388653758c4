"""Calls that make, name, open and close a socket: socket() to close()."""

from __future__ import annotations

import os
import socket
from typing import Any

from .call import Call
from .sockets import FAMILIES, Kind, Named, short
from .waiting import POLLIN, POLLOUT

ANY = {"ipv4": "0.0.0.0", "ipv6": "::"}
HOW = {"read": socket.SHUT_RD, "write": socket.SHUT_WR, "both": socket.SHUT_RDWR}


def resolve(host: str, port: int, family: str | None) -> tuple[str, Any]:
    """The family and address of a name, looked up before a call, never within its elapsed time.

    A literal address needs no resolver, and therefore no descriptor.
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


def target(call: Call) -> tuple[str, Any]:
    host, port = call.args["to"]
    return resolve(host, port, call.args.get("family"))


def _bind_address(call: Call, named: Named) -> Any:
    family = "ipv6" if named.sock.family == socket.AF_INET6 else "ipv4"
    return resolve(call.args.get("address") or ANY[family], int(call.args.get("port") or 0), family)[1]


def make(call: Call, kind: Kind, family: str | None = None) -> Named:
    """Make a socket named `as`, outside the call's elapsed time."""
    name = call.args.get("as") or call.args["step"]
    return call.enter(call.sockets.open(name, kind, family or call.args.get("family") or "ipv4"))


def do_socket(call: Call) -> None:
    """socket(2). With `count`, that many named `as`0, `as`1 …; the result is how many were made."""
    count = call.args.get("count")
    kind: Kind = call.args.get("kind") or "tcp"
    family = call.args.get("family") or "ipv4"
    if count is None:
        call.sockets.check_free(call.args.get("as") or call.args["step"])
        call.begin()
        make(call, kind)
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
        named = make(call, call.args.get("kind") or "tcp")
    address = _bind_address(call, named)
    call.begin()
    call.attempt(named, POLLIN, lambda: named.sock.bind(address))


def do_listen(call: Call) -> None:
    name = call.args.get("on")
    named = call.use(name) if name is not None else make(call, "tcp")
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
    named.remote = short(address)  # getpeername() fails if the peer has reset it already
    call.used = named
    call.peer = named.remote
    call.sockets.stream(named)


def do_connect(call: Call) -> None:
    family, address = target(call)
    name = call.args.get("on")
    named = call.use(name) if name is not None else make(call, call.args.get("kind") or "tcp", family)
    from_port = call.args.get("from_port")
    if from_port is not None:
        named.sock.bind((ANY[family], int(from_port)))
    call.begin()
    try:
        named.sock.connect(address)
    except BlockingIOError:  # EINPROGRESS, or EALREADY for a connect begun before
        call.stamp()
        if not call.blocking:
            raise
        wait_for_handshake(call, named)
    except OSError:
        call.stamp()
        raise
    else:
        call.stamp()
    opened(call, named, address)


def wait_for_handshake(call: Call, named: Named) -> None:
    """Wait for the end of a connect that has begun. Raises the error that it ends with."""
    call.wait(named, POLLOUT)
    code = named.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code)) from None


def opened(call: Call, named: Named, address: Any) -> None:
    """Note a connection; with Fast Open, getpeername() fails until the SYN-ACK arrives."""
    named.remote = short(address)
    call.sockets.stream(named)


def do_shutdown(call: Call) -> None:
    named = call.use(call.args["on"])
    how = HOW[call.args["how"]]
    call.begin()
    call.attempt(named, POLLIN, lambda: named.sock.shutdown(how))


def do_close(call: Call) -> None:
    """close(2). A call blocked on the socket in another thread is not woken and keeps it open: no FIN is
    sent until it returns. (Linux frees the descriptor at once; here it stays taken until then.)"""
    named = call.use(call.args["on"])
    call.begin()
    others = call.sockets.close(named, call.number)
    call.stamp()
    if others:
        call.notes.append(
            f"{' and '.join(others)} was in progress on this socket in another thread: Linux does not "
            f"wake it and sends no FIN until it returns; descriptor {named.fd} is freed then"
        )
