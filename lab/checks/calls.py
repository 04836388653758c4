"""Which socket call opened a connection, which options its socket had, and when that socket ended."""

from __future__ import annotations

from collections.abc import Sequence

from lab.evidence.model import CallRecord, Endpoint, Records
from lab.evidence.trace import End, Flow
from lab.scenario.option_values import option_bytes

_SLACK_NS = 5_000_000  #: a call's timestamps are taken in user space, outside the kernel's


def connect_call(flow: Flow, records: Records) -> CallRecord | None:
    """The connect() (or, with MSG_FASTOPEN, the sendto()) whose first SYN began this connection.

    A call with this port is preferred. A connect() that failed no longer has its port, so it is found by host
    and time.
    """
    candidates = [
        call
        for call in records.calls
        if call.call in ("connect", "sendto")
        and call.kind != "udp"
        and call.host == flow.client.host
        and call.start_wall_ns - _SLACK_NS <= flow.start_ns <= call.end_wall_ns + _SLACK_NS
    ]
    by_port = [call for call in candidates if call.local_port == flow.client.port]
    if by_port:
        return by_port[0]
    others = [call for call in candidates if not call.local_port]
    return max(others, key=lambda call: call.start_wall_ns, default=None)


def set_option(call: CallRecord | None, option: str, records: Records) -> int | None:
    """The value that setsockopt() last gave an option of this call's socket before the call."""
    value: int | None = None
    for other in records.calls:
        if (
            call is not None
            and other.call == "setsockopt"
            and other.error is None
            and _same_socket(other, call)
            and other.end_mono_ns <= call.start_mono_ns
            and other.arguments.get("option") == option
        ):
            given = option_bytes(option, other.arguments["value"])
            value = int.from_bytes(given[:4], "little", signed=True)
    return value


def end_of_socket(call: CallRecord, records: Records) -> int | None:
    """When (wall clock) the socket of this call was closed or its process killed; None if neither."""
    ends = [
        other.start_wall_ns
        for other in records.calls
        if other.call == "close" and _same_socket(other, call) and other.end_mono_ns >= call.start_mono_ns
    ]
    return min(ends, default=None)


def _same_socket(a: CallRecord, b: CallRecord) -> bool:
    return (a.host, a.process) == (b.host, b.process) and a.socket is not None and a.socket == b.socket


def uses_socket(
    flow: Flow, later: Sequence[Flow], host: str, name: tuple[str, str], records: Records
) -> bool:
    """Whether an end of this flow was the socket `name` (its process and its own name) of a host.

    `later` are the later flows of the same addresses and ports: a call belongs to the last one that had begun
    when it ended.
    """
    views = [view for view in (flow, flow.turned) if view.client.host == host]
    for view in views:
        call = connect_call(view, records) if view is flow or flow.simultaneous else None
        if call is not None:
            return (call.process, call.socket) == name
    for view in views:
        for call in records.calls:
            if (call.host, call.process, call.socket) != (host, *name) or call.call in ("connect", "listen"):
                continue
            remote = call.peer or call.remote
            mine = _is_end(call.local, view.client) and (
                flow.protocol == "udp" or (remote is not None and _is_end(remote, view.server))
            )
            if mine and not any(other.start_ns <= call.end_wall_ns for other in later):
                return True
    return False


def _is_end(endpoint: Endpoint | None, end: End) -> bool:
    """Compares the port, and the address if the socket is bound to one."""
    if endpoint is None or endpoint.port != end.port:
        return False
    return endpoint.plain in (end.address, "0.0.0.0", "::")
