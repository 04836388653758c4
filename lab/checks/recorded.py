"""The check `call`: how many recorded calls match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic_core import PydanticCustomError

from lab.checks.common import Context, failed, found, hold_count
from lab.checks.expect import hold_elapsed, judge_result, same_error
from lab.checks.moments import Window
from lab.evidence.model import CallRecord, Endpoint
from lab.evidence.store import Evidence
from lab.quantities import plural
from lab.scenario.checks import CallCheck
from lab.scenario.option_values import option_bytes
from lab.scenario.ranges import Range
from lab.scenario.values import Address
from lab.verdict import Finding, Verdict

_SHOWN = 6  #: kinds of calls that a finding names


def judge_call_check(check: CallCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge how many calls of a host match the check. Without `count` one is enough.

    A call counts by its end: after the end of `after`, before the start of `before`.
    """
    wanted = check.count if check.count is not None else Range(1, None)
    what = _what(check)
    window = Window.of(check, evidence.records)
    if window.missing:
        return failed(check, "call", f"{wanted} {what}", "none", window.missing)
    there = [
        call
        for call in evidence.records.calls
        if call.host == check.at
        and check.process in (None, call.process)
        and check.call in (None, call.call)
        and window.holds(call.end_wall_ns)
    ]
    like = [call for call in there if _is_like(check, call, context)]
    held = hold_count(wanted, len(like), f"{what}{window.text}")
    if not held.ok:
        held = held.because(f"{held.reason}; recorded: {_told(there)}")
    return found(check, "call", held, expected=f"{wanted}: {what}", actual=f"{len(like):,} of {_told(there)}")


def _is_like(check: CallCheck, call: CallRecord, context: Context) -> bool:
    if check.error is not None and (call.error is None or not same_error(call.error.name, check.error)):
        return False
    if check.has_result and (
        call.error is not None or judge_result(check, call, check.result).verdict is not Verdict.PASS
    ):
        return False
    ends = _ends(call)
    if check.to is not None and not any(_is_at(one, check.to, context) for one in ends):
        return False
    if check.port is not None and check.port not in _ports(call, ends):
        return False
    if check.elapsed is not None:
        peer = next((host for one in ends if (host := _host(one, context)) is not None), None)
        rtt = context.timeline.rtt(call.host, peer, call.start_wall_ns)
        if not hold_elapsed(check.elapsed, call.elapsed_ns, rtt, context.tolerance, call.call).ok:
            return False
    return _sets(check, call)


def _sets(check: CallCheck, call: CallRecord) -> bool:
    """Whether a call names the option of the check and, if the check has a value, sets it to that."""
    if check.option is None:
        return True
    if call.arguments.get("option") != check.option:
        return False
    if check.value is None:
        return True
    given = call.arguments.get("value")
    if given is None:
        return False
    try:
        return option_bytes(check.option, given) == option_bytes(check.option, check.value)
    except (ValueError, PydanticCustomError):
        return False  # no value of this option: the call failed


def _ends(call: CallRecord) -> list[Endpoint]:
    """The other end, as far as known: from the socket, from what arrived, from the arguments."""
    ends = [one for one in (call.remote, call.peer) if one is not None]
    asked = call.arguments.get("to")
    if isinstance(asked, str):
        address = Address.parse(asked, port_needed=False)
        ends.append(Endpoint(address.host, address.port or 0))
    return ends


def _is_at(end: Endpoint, party: Address, context: Context) -> bool:
    meant = party.host in (end.plain, context.host_of(end.plain))
    return meant and party.port in (None, end.port)


def _host(end: Endpoint, context: Context) -> str | None:
    return end.plain if end.plain in context.attachments else context.host_of(end.plain)


def _ports(call: CallRecord, ends: Sequence[Endpoint]) -> set[object]:
    """The ports of both ends, and one that was requested in vain."""
    asked = (call.arguments.get("port"), call.arguments.get("from_port"))
    return {call.local_port, *(one.port for one in ends), *asked}


def _what(check: CallCheck) -> str:
    """What is counted, in words: `calls of connect at client to server:80 with ECONNRESET`."""
    parts = [f"calls of {check.call} at {check.at}" if check.call is not None else f"calls at {check.at}"]
    parts += [f"in {check.process}"] if check.process is not None else []
    parts += [f"to {check.to}"] if check.to is not None else []
    parts += [f"with port {check.port}"] if check.port is not None else []
    parts += [f"about {check.option}"] if check.option is not None else []
    parts += [f"set to {check.value}"] if check.value is not None else []
    parts += [f"with {check.error}"] if check.error is not None else []
    parts += [f"with the result {_result(check)}"] if check.has_result else []
    parts += [f"that took {check.elapsed}"] if check.elapsed is not None else []
    return " ".join(parts)


def _result(check: CallCheck) -> str:
    return "nothing" if check.result is None else str(check.result)


def _told(calls: Sequence[CallRecord]) -> str:
    """`12 calls: 10 connect, 2 connect ECONNREFUSED`."""
    if not calls:
        return "no calls"
    kinds = Counter(f"{call.call} {call.error.name}" if call.error else call.call for call in calls)
    listed = [f"{count:,} {kind}" for kind, count in kinds.most_common(_SHOWN)]
    more = ["…"] if len(kinds) > _SHOWN else []
    return f"{plural(len(calls), 'call')}: {', '.join([*listed, *more])}"
