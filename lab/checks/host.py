"""The checks of what a host did: socket states, kernel counters, the order in which calls ended."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise

from lab.checks.common import MAX_REFS, Context, failed, found, hold_count, passed
from lab.checks.flows import Side, side
from lab.checks.states import proven_states
from lab.evidence.model import Endpoint, StateSample
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow
from lab.quantities import duration, plural
from lab.scenario.checks import CounterCheck, OrderCheck, StateCheck
from lab.scenario.ranges import Range
from lab.verdict import Finding, PacketRef

_GONE = "GONE"  #: of a sample: the socket is no more
#: The kernel has two records of a handshake that is half done; a socket that is no more is CLOSED, says TCP.
_SAME_STATE = {"NEW_SYN_RECV": "SYN_RECV", _GONE: "CLOSE"}


# --- state ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Socket:
    """One socket that was in the state, and how it is known."""

    local: Endpoint
    remote: Endpoint | None
    how: str
    packets: tuple[PacketRef, ...] = ()


def judge_state(check: StateCheck, evidence: Evidence, context: Context) -> Finding:
    """A socket of `at` in a state: at the end by the last reading, or ever, by samples or by proof.

    `to` is the other end; `port` is the port of either end. Without `count` one socket is enough.
    """
    wanted = check.count if check.count is not None else Range(1, None)
    where = _where(check)
    when = "at the end" if check.when == "end" else "at some time"
    expected = f"{check.state}{where} {when}" + (f": {check.count}" if check.count is not None else "")
    samples = [s for s in evidence.records.states if s.host == check.at and _meant(check, s, context)]
    known = {_key(s.local, s.remote) for s in samples}
    if check.when == "end":
        last = [s for s in samples if s.final and s.state != _GONE]
        sockets = [_Socket(s.local, s.remote, "read at the end") for s in last if _is(s, check.state)]
        if check.state == "CLOSE":
            sockets += _gone(samples, {_key(s.local, s.remote) for s in last})
        others = _states([s for s in last if not _is(s, check.state)])
    else:
        sockets = _ever(check, samples, evidence, context)
        others = _states([s for s in samples if not _is(s, check.state)])
    held = hold_count(wanted, len(sockets), f"sockets of {check.at}{where} in {check.state} {when}")
    actual = _actual(check, sockets, others, bool(known))
    packets = tuple(ref for socket in sockets for ref in socket.packets)[:MAX_REFS]
    if not held.ok and not sockets:
        held = held.because(_never(check, where, when, others, bool(known)))
    return found(check, "state", held, packets, expected=expected, actual=actual)


def _gone(samples: list[StateSample], left: set[tuple[str, int, str, int]]) -> list[_Socket]:
    """Sockets that were seen and are no more: in TCP's words they are CLOSED."""
    gone: dict[tuple[str, int, str, int], _Socket] = {}
    for sample in samples:
        key = _key(sample.local, sample.remote)
        if key not in left:
            gone.setdefault(key, _Socket(sample.local, sample.remote, "no longer there at the end"))
    return list(gone.values())


def _where(check: StateCheck) -> str:
    to = "" if check.to is None else f" to {check.to}"
    return f" on {check.at}{to}" + ("" if check.port is None else f" port {check.port}")


def _is(sample: StateSample, state: str) -> bool:
    return _SAME_STATE.get(sample.state, sample.state) == _SAME_STATE.get(state, state)


def _meant(check: StateCheck, sample: StateSample, context: Context) -> bool:
    remote_port = None if sample.remote is None else sample.remote.port
    if check.port is not None and check.port not in (sample.local.port, remote_port):
        return False
    return check.to is None or _is_at(side(check.to, context), sample.remote, context)


def _is_at(party: Side, end: Endpoint | None, context: Context) -> bool:
    if end is None:
        return False
    address = party.address or context.addresses.get(party.host or "")
    return _plain(end.address) == address and party.port in (None, end.port)


def _plain(address: str) -> str:
    """An IPv4 address that an IPv6 socket shows as `::ffff:198.18.0.10`."""
    return address.removeprefix("::ffff:")


def _key(local: Endpoint, remote: Endpoint | None) -> tuple[str, int, str, int]:
    """Which socket: the addresses and ports of both ends."""
    far = ("", 0) if remote is None else (_plain(remote.address), remote.port)
    return _plain(local.address), local.port, *far


def _ever(
    check: StateCheck, samples: list[StateSample], evidence: Evidence, context: Context
) -> list[_Socket]:
    """Every socket that was in the state, once: seen in the samples, or proven by the packets."""
    begin = min((s.wall_ns for s in evidence.records.states), default=0)
    sockets: dict[tuple[str, int, str, int], _Socket] = {}
    for sample in samples:
        if _is(sample, check.state):
            how = f"sampled {duration(sample.wall_ns - begin)} after the first sample"
            sockets.setdefault(_key(sample.local, sample.remote), _Socket(sample.local, sample.remote, how))
    for flow in evidence.trace.flows:
        if flow.protocol != "tcp" or check.at not in (flow.client.host, flow.server.host):
            continue
        local, remote = _ends(flow, check.at)
        if not _flow_meant(check, local, remote, context):
            continue
        proof = proven_states(flow, check.at).get(_SAME_STATE.get(check.state, check.state))
        if proof is None:
            continue
        if check.state == "LISTEN":  # one listener answers many
            key = next((k for k in sockets if k[1] == local.port), ("any", local.port, "", 0))
            listener = Endpoint(local.address, local.port)
            sockets.setdefault(key, _Socket(listener, None, "proven by packets", proof.packets))
        else:
            socket = _Socket(local, remote, "proven by packets", proof.packets)
            sockets.setdefault(_key(local, remote), socket)
    return list(sockets.values())


def _ends(flow: Flow, host: str) -> tuple[Endpoint, Endpoint]:
    client = Endpoint(flow.client.address, flow.client.port)
    server = Endpoint(flow.server.address, flow.server.port)
    return (client, server) if flow.client.host == host else (server, client)


def _flow_meant(check: StateCheck, local: Endpoint, remote: Endpoint, context: Context) -> bool:
    if check.port is not None and check.port not in (local.port, remote.port):
        return False
    return check.to is None or (check.state != "LISTEN" and _is_at(side(check.to, context), remote, context))


def _states(samples: list[StateSample]) -> list[str]:
    """The states of these samples, in order of time, each once."""
    seen = sorted(samples, key=lambda sample: sample.wall_ns)
    return list(dict.fromkeys(sample.state for sample in seen if sample.state != _GONE))


def _actual(check: StateCheck, sockets: list[_Socket], others: list[str], known: bool) -> str:
    if sockets:
        shown = ", ".join(
            f"{s.local}{f' to {s.remote}' if s.remote else ''} ({s.how})" for s in sockets[:3]
        ) + (", …" if len(sockets) > 3 else "")
        return f"{len(sockets)} in {check.state}: {shown}"
    if others:
        return f"none in {check.state}; {', '.join(others)}"
    return "no such socket any more" if known and check.when == "end" else "no such socket"


def _never(check: StateCheck, where: str, when: str, others: list[str], known: bool) -> str:
    """Why no socket is in the state."""
    if others:
        verb = "is" if check.when == "end" else "was seen"
        return f"no socket{where} was in {check.state} {when}: it {verb} in {', '.join(others)}"
    if known and check.when == "end":
        return f"no socket{where} was left at the end, in no state at all"
    return f"no socket{where} was ever seen, in no state at all"


# --- counter ----------------------------------------------------------------------------------------------


def judge_counter(check: CounterCheck, evidence: Evidence, context: Context) -> Finding:
    """By how much a kernel counter of a host moved over the steps."""
    expected = (
        f"{check.name} +{check.delta}" if check.delta.exact is not None else f"{check.name} {check.delta}"
    )
    record = evidence.records.counters.get(check.at)
    if record is None:
        reason = f"the counters of {check.at} were not read"
        return failed(check, "counter", expected, "not read", reason)
    if check.name not in record.before or check.name not in record.after:
        close = get_close_matches(check.name, record.after, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        reason = f"the kernel of {check.at} has no counter {check.name}{hint}"
        return failed(check, "counter", expected, "no such counter", reason)
    held = hold_count(check.delta, record.delta(check.name), f"{check.name} of {check.at} moved by")
    before, after = record.before[check.name], record.after[check.name]
    actual = f"{check.name} {after - before:+d} ({before} to {after})"
    return found(check, "counter", held, expected=expected, actual=actual)


# --- order ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _End:
    """When a step ended, on the two clocks of whoever ran it: a host, or the lab itself ("")."""

    host: str
    clock: str  #: whose wall clock: hosts of one machine share one
    mono_ns: int
    wall_ns: int

    def after(self, other: _End) -> int:
        """How much later than the other one, in ns.

        A monotonic clock means nothing elsewhere: between two hosts the wall clock counts that they share.
        """
        if self.host == other.host:
            return self.mono_ns - other.mono_ns
        return self.wall_ns - other.wall_ns


def judge_order(check: OrderCheck, evidence: Evidence, context: Context) -> Finding:
    """The steps' calls (programs, actions) ended in this order, as `_End.after` tells."""
    expected = " before ".join(check.of)
    ends: dict[str, _End] = {}
    for step in evidence.records.steps:
        ends[step.step] = _End("", "", step.end_mono_ns, step.end_wall_ns)
    clocks = {host: places[0].clock for host, places in context.attachments.items()}
    for run in evidence.records.runs:
        ends[run.step] = _End(run.host, clocks.get(run.host, ""), run.end_mono_ns, run.end_wall_ns)
    for call in evidence.records.calls:  # the call's own time goes before that of the step around it
        ends[call.step] = _End(call.host, clocks.get(call.host, ""), call.end_mono_ns, call.end_wall_ns)
    missing = [name for name in check.of if name not in ends]
    if missing:
        reason = f"step {missing[0]} has no record: it never ended"
        return failed(check, "order", expected, f"{plural(len(missing), 'step')} without a record", reason)
    if len(set(check.of)) < 2:
        return failed(check, "order", expected, expected, "one step alone has no order: name at least two")
    for a, b in pairwise(check.of):
        if ends[a].clock != ends[b].clock:
            reason = f"{a} and {b} ended on machines with clocks of their own: which was first is not known"
            return failed(check, "order", expected, "clocks of several machines", reason)
    ordered = sorted(check.of, key=lambda name: ends[name].wall_ns)
    first = ends[ordered[0]]
    actual = ", ".join(f"{name} at +{duration(ends[name].after(first))}" for name in ordered)
    gaps = [(ends[b].after(ends[a]), a, b) for a, b in pairwise(check.of)]
    margin = duration(min(gaps)[0])
    wrong = next(((gap, a, b) for gap, a, b in gaps if gap <= 0), None)
    if wrong is None:
        return passed(check, "order", expected, actual, margin=margin)
    gap, a, b = wrong
    when = "at the same time as" if gap == 0 else f"{duration(-gap)} before"
    return failed(check, "order", expected, actual, f"{b} ended {when} {a}", margin=margin)
