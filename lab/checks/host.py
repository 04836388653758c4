"""The checks of a host's kernel: socket states, counters."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from msgspec import Struct

from lab.checks.common import MAX_REFS, Context, failed, found, hold_count
from lab.checks.flows import Side, side
from lab.checks.moments import Window, timed_records
from lab.checks.states import proven_states
from lab.evidence.model import Endpoint, StateSample
from lab.evidence.store import Evidence
from lab.evidence.trace import Flow
from lab.quantities import duration
from lab.scenario.checks import CounterCheck, StateCheck
from lab.scenario.ranges import Range
from lab.verdict import Finding, PacketRef

_LOOKS_NS = 20_000_000  #: the longest time between two samples of the sockets while anything changes
_GONE = "GONE"  #: of a sample: the socket no longer exists
#: The kernel has two states for a half-done handshake; in TCP's words a socket that is gone is CLOSED.
_SAME_STATE = {"NEW_SYN_RECV": "SYN_RECV", _GONE: "CLOSE"}


# --- state ------------------------------------------------------------------------------------------------


class _Socket(Struct, frozen=True):
    """One socket that was in the state, and the evidence for it."""

    local: Endpoint
    remote: Endpoint | None
    how: str
    packets: tuple[PacketRef, ...] = ()


def judge_state(check: StateCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge whether a socket of `at` is in a state: at the end or after a step, by the reading at that
    moment; or ever (in the check's window), by samples or by proof.

    `to` is the other end; `port` is the port of either end. Without `count` one socket is enough.
    """
    wanted = check.count if check.count is not None else Range(1, None)
    window = Window.of(check, evidence.records)
    where, moment = _where(check), check.moment
    when = {"end": "at the end", "ever": "at some time"}.get(moment, f"when {moment} had ended") + window.text
    expected = f"{check.state}{_timer(check)}{where} {when}" + (
        f": {check.count}" if check.count is not None else ""
    )
    if window.missing:
        return failed(check, "state", expected, "nothing", window.missing)
    samples = [
        s for s in evidence.records.states if s.host == check.at and _meant(check, s.local, s.remote, context)
    ]
    if moment == "ever":
        sockets = _ever(check, window, samples, evidence, context)
        others = _states(check, [s for s in samples if not _fits(s, check) and window.holds(s.wall_ns)])
        known = bool(samples)
    else:
        times = None if moment == "end" else timed_records(evidence.records).get(moment)
        if moment != "end" and times is None:
            reason = f"step {moment} has no record: it never ended"
            return failed(check, "state", expected, "nothing", reason)
        if times is not None:
            known_by_then, last = _when(moment, times.end_wall_ns, samples, evidence)
        else:
            known_by_then, last = samples, [s for s in samples if s.final and s.state != _GONE]
        known = bool(known_by_then)
        read = "read at the end" if moment == "end" else "read then"
        sockets = [_Socket(s.local, s.remote, read) for s in last if _fits(s, check)]
        if check.state == "CLOSE" and check.timer is None:
            sockets += _gone(known_by_then, {_key(s.local, s.remote) for s in last}, when)
        others = _states(check, [s for s in last if not _fits(s, check)])
    held = hold_count(
        wanted, len(sockets), f"sockets of {check.at}{where} in {check.state}{_timer(check)} {when}"
    )
    actual = _actual(check, sockets, others, known)
    packets = tuple(ref for socket in sockets for ref in socket.packets)[:MAX_REFS]
    if not held.ok and not sockets:
        held = held.because(_never(check, where, when, others, known))
    return found(check, "state", held, packets, expected=expected, actual=actual)


def _when(
    step: str, end_ns: int, samples: list[StateSample], evidence: Evidence
) -> tuple[list[StateSample], list[StateSample]]:
    """The sockets known by the end of a step, and their states then: as read for that step, or, without a
    reading, by the changes until then."""
    if any(sample.step == step for sample in evidence.records.states):
        read = [sample for sample in samples if sample.step == step]
        until = max((sample.wall_ns for sample in read), default=end_ns)
        return [s for s in samples if s.wall_ns <= until], [s for s in read if s.state != _GONE]
    before = [sample for sample in samples if sample.wall_ns <= end_ns]
    last = {_key(sample.local, sample.remote): sample for sample in before}
    return before, [sample for sample in last.values() if sample.state != _GONE]


def _gone(samples: list[StateSample], left: set[tuple[str, int, str, int]], when: str) -> list[_Socket]:
    """Sockets that were seen and are gone: in TCP's words they are CLOSED."""
    gone: dict[tuple[str, int, str, int], _Socket] = {}
    for sample in samples:
        key = _key(sample.local, sample.remote)
        if key not in left:
            gone.setdefault(key, _Socket(sample.local, sample.remote, f"no longer there {when}"))
    return list(gone.values())


def _where(check: StateCheck) -> str:
    to = "" if check.to is None else f" to {check.to}"
    return f" on {check.at}{to}" + ("" if check.port is None else f" port {check.port}")


def _is(sample: StateSample, state: str) -> bool:
    return _SAME_STATE.get(sample.state, sample.state) == _SAME_STATE.get(state, state)


def _fits(sample: StateSample, check: StateCheck) -> bool:
    """Whether a sample is in the state, with the expected timer and at most the given time left on it."""
    if not _is(sample, check.state):
        return False
    if check.timer is None:
        return True
    in_time = check.within is None or (sample.left_ns is not None and sample.left_ns <= check.within.ns)
    return sample.timer == check.timer and in_time


def _meant(check: StateCheck, local: Endpoint, remote: Endpoint | None, context: Context) -> bool:
    remote_port = None if remote is None else remote.port
    if check.port is not None and check.port not in (local.port, remote_port):
        return False
    return check.to is None or _is_at(side(check.to, context), remote, context)


def _is_at(party: Side, end: Endpoint | None, context: Context) -> bool:
    if end is None:
        return False
    address = party.address or context.addresses.get(party.host or "")
    return end.plain == address and party.port in (None, end.port)


def _key(local: Endpoint, remote: Endpoint | None) -> tuple[str, int, str, int]:
    """Which socket: the addresses and ports of both ends."""
    far = ("", 0) if remote is None else (remote.plain, remote.port)
    return local.plain, local.port, *far


def _ever(
    check: StateCheck,
    window: Window,
    samples: list[StateSample],
    evidence: Evidence,
    context: Context,
) -> list[_Socket]:
    """Every socket that was in the state, once: seen in the samples, or proven by the packets."""
    begin = min((s.wall_ns for s in evidence.records.states), default=0)
    sockets: dict[tuple[str, int, str, int], _Socket] = {}
    for sample, until_ns in _lasting(samples):
        if _fits(sample, check) and _overlaps(window, sample.wall_ns, until_ns):
            how = f"sampled {duration(sample.wall_ns - begin)} after the first sample"
            sockets.setdefault(_key(sample.local, sample.remote), _Socket(sample.local, sample.remote, how))
    counters = evidence.records.counters.get(check.at)
    # packets prove a state, but no timer; a listener has no other end
    provable = check.timer is None and (check.state != "LISTEN" or check.to is None)
    for flow in evidence.trace.flows if provable else ():
        if flow.protocol != "tcp" or check.at not in (flow.client.host, flow.server.host):
            continue
        local, remote = _ends(flow, check.at)
        if not _meant(check, local, remote, context):
            continue
        proof = proven_states(flow, check.at, counters).get(_SAME_STATE.get(check.state, check.state))
        if proof is None or not window.holds(proof.t_ns):
            continue
        if check.state == "LISTEN":  # one listener answers many
            key = next((k for k in sockets if k[1] == local.port), ("any", local.port, "", 0))
            listener = Endpoint(local.address, local.port)
            sockets.setdefault(key, _Socket(listener, None, "proven by packets", proof.packets))
        else:
            socket = _Socket(local, remote, "proven by packets", proof.packets)
            sockets.setdefault(_key(local, remote), socket)
    return list(sockets.values())


def _lasting(samples: list[StateSample]) -> Iterator[tuple[StateSample, int | None]]:
    """Each sample, and until when the socket was seen so; None if it stayed so."""
    following: dict[tuple[str, int, str, int], int] = {}
    for sample in reversed(samples):
        key = _key(sample.local, sample.remote)
        yield sample, following.get(key)
        following[key] = sample.wall_ns


def _overlaps(window: Window, since_ns: int, until_ns: int | None) -> bool:
    """Whether a state that was seen from `since_ns` on falls in the window. Samples miss what happens between
    them, so a change by the last step may be seen a moment after its end."""
    if window.end_ns is not None and since_ns >= window.end_ns:
        return False
    if window.begin_ns is None or since_ns > window.begin_ns:
        return True
    return until_ns is None or until_ns > window.begin_ns + _LOOKS_NS


def _ends(flow: Flow, host: str) -> tuple[Endpoint, Endpoint]:
    client = Endpoint(flow.client.address, flow.client.port)
    server = Endpoint(flow.server.address, flow.server.port)
    return (client, server) if flow.client.host == host else (server, client)


def _states(check: StateCheck, samples: list[StateSample]) -> list[str]:
    """The states of these samples, in order of time, each once; with timers if the check has one."""
    seen = sorted(samples, key=lambda sample: sample.wall_ns)
    words = (
        sample.state if check.timer is None else f"{sample.state} ({_timer_of(sample)})"
        for sample in seen
        if sample.state != _GONE
    )
    return list(dict.fromkeys(words))


def _timer(check: StateCheck) -> str:
    if check.timer is None:
        return ""
    left = f" that expires within {check.within}" if check.within is not None else ""
    return " with no timer" if check.timer == "none" else f" with the {check.timer} timer{left}"


def _timer_of(sample: StateSample) -> str:
    if sample.timer is None:
        return "timers were not read"
    if sample.timer == "none":
        return "no timer"
    left = f", {duration(sample.left_ns)} left" if sample.left_ns is not None else ""
    return f"{sample.timer} timer{left}"


def _actual(check: StateCheck, sockets: list[_Socket], others: list[str], known: bool) -> str:
    if sockets:
        shown = ", ".join(
            f"{s.local}{f' to {s.remote}' if s.remote else ''} ({s.how})" for s in sockets[:3]
        ) + (", …" if len(sockets) > 3 else "")
        return f"{len(sockets)} in {check.state}: {shown}"
    if others:
        return f"none in {check.state}; {', '.join(others)}"
    return "no such socket any more" if known and check.moment != "ever" else "no such socket"


def _never(check: StateCheck, where: str, when: str, others: list[str], known: bool) -> str:
    """Why no socket is in the state."""
    if others:
        verb = "was seen" if check.moment == "ever" else "is" if check.moment == "end" else "was"
        return (
            f"no socket{where} was in {check.state}{_timer(check)} {when}: it {verb} in {', '.join(others)}"
        )
    if known and check.moment != "ever":
        return f"no socket{where} was left {when}, in no state at all"
    return f"no socket{where} was ever seen, in no state at all"


# --- counter ----------------------------------------------------------------------------------------------


def judge_counter(check: CounterCheck, evidence: Evidence, context: Context) -> Finding:
    """Judge how much a kernel counter of a host rose over the steps."""
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
