"""The flags of send() and recv() by name."""

from __future__ import annotations

import socket

from .call import Call

#: As in linux/socket.h.
FLAGS = {
    name: getattr(socket, name)
    for name in (
        *("MSG_OOB", "MSG_PEEK", "MSG_DONTROUTE", "MSG_TRUNC", "MSG_DONTWAIT", "MSG_WAITALL"),
        *("MSG_CONFIRM", "MSG_NOSIGNAL", "MSG_MORE", "MSG_FASTOPEN"),
    )
}


def flags_of(call: Call) -> int:
    """The flags of a call; MSG_DONTWAIT makes it non-blocking."""
    flags = 0
    for name in call.args.get("flags") or ():
        flags |= FLAGS[name]
    if flags & socket.MSG_DONTWAIT:
        call.blocking = False
    return flags
