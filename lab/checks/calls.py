"""Which socket call made a connection, what was set on its socket, and when that socket ended."""

from __future__ import annotations

from lab.evidence.model import CallRecord, Records
from lab.evidence.trace import Flow

_SLACK_NS = 5_000_000  #: a call's own stamps are taken outside the kernel's


def connect_call(flow: Flow, records: Records) -> CallRecord | None:
    """The connect() whose first SYN began this connection.

    A connect() that failed no longer has its port, so it is told by host and time, and by the port where two
    would do.
    """
    candidates = [
        call
        for call in records.calls
        if call.call == "connect"
        and call.host == flow.client.host
        and call.start_wall_ns - _SLACK_NS <= flow.start_ns <= call.end_wall_ns + _SLACK_NS
    ]
    by_port = [call for call in candidates if call.local is not None and call.local.port == flow.client.port]
    if by_port:
        return by_port[0]
    others = [call for call in candidates if call.local is None or call.local.port == 0]
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
            given = other.arguments.get("value")
            value = given if isinstance(given, int) else value
    return value


def end_of_socket(call: CallRecord, records: Records) -> int | None:
    """When (wall clock) the socket of this call was closed or its process killed; None where it was not."""
    ends = [
        other.start_wall_ns
        for other in records.calls
        if other.call == "close" and _same_socket(other, call) and other.end_mono_ns >= call.start_mono_ns
    ]
    return min(ends, default=None)


def _same_socket(a: CallRecord, b: CallRecord) -> bool:
    return (a.host, a.process) == (b.host, b.process) and a.socket is not None and a.socket == b.socket
