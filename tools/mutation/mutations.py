"""How each kind of expectation is falsified: one change at a time, each of which the lab must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from lab.scenario.checks import (
    CallCheck,
    Check,
    CloseCheck,
    CounterCheck,
    DuplicatedCheck,
    HandshakeCheck,
    LogCheck,
    LossCheck,
    OneWayCheck,
    OrderCheck,
    PacketsCheck,
    ReorderedCheck,
    RetransmissionsCheck,
    ScheduleCheck,
    ServiceCheck,
    StateCheck,
    ValueCheck,
)
from lab.scenario.data import Data, DataExpect
from lab.scenario.expects import EVENTS, Expect, Linger, RunExpect
from lab.scenario.ranges import Bounds, Elapsed, Range
from lab.scenario.values import Address, TextMatch
from lab.units import Duration, Percent, RoundTrips

#: A falsification: its description, and the changed value.
Changed = Iterator[tuple[str, Any]]

_ERRORS = {"timeout": "ETIMEDOUT", "ETIMEDOUT": "timeout", "ECONNREFUSED": "ECONNRESET"}


# --- values -----------------------------------------------------------------------------------------------


def ranges(value: Range) -> Changed:
    """One more and one less; for a span, what is just beyond it; for a bound, its other side."""
    if value.exact is not None:
        yield f"{value.exact + 1} instead of {value}", Range.exactly(value.exact + 1)
        if value.exact > 0:
            yield f"{value.exact - 1} instead of {value}", Range.exactly(value.exact - 1)
        return
    if value.max is not None:
        above = Range(value.max + 1, None)
        yield f"{above} instead of {value}", above
    if value.min is not None and value.min > 0:
        below = Range(None, value.min - 1)
        yield f"{below} instead of {value}", below


def _scaled(span: Duration | RoundTrips | None, factor: Decimal) -> Duration | RoundTrips | None:
    if span is None:
        return None
    if isinstance(span, RoundTrips):
        return RoundTrips(span.factor * factor)
    return Duration(round(span.ns * factor))


def times(value: Elapsed) -> Changed:
    """Twice as long and half as long; for a single bound, its other side."""
    if value.exact is None and (value.min is None or value.max is None):
        other = Elapsed(min=value.max, max=value.min)
        yield f"{other} instead of {value}", other
        return
    for word, factor in (("twice", Decimal(2)), ("half", Decimal("0.5"))):
        changed = Elapsed(*(_scaled(span, factor) for span in (value.exact, value.min, value.max)))
        if changed != value:
            yield f"{changed} instead of {value} ({word})", changed


def _text(value: TextMatch) -> Changed:
    text = f"(?:{value.text}) mutant" if value.regex else f"{value.text} mutant"
    changed = replace(value, text=text)
    yield f"{changed} instead of {value}", changed


def _data(value: DataExpect) -> Changed:
    """Other bytes of the same length, one byte more; another hash; another length."""
    if value.data is not None:
        data = value.data.bytes()
        if data:
            other = replace(value, data=Data(bytes([data[0] ^ 1]) + data[1:], hex=True))
            yield f"the first byte flipped, not {value}", other
        yield f"one byte more than {value}", replace(value, data=Data(data + b"!", hex=True))
    if value.sha256 is not None:
        yield "another sha256", replace(value, sha256="0" * 64)
    if value.same_as is not None:
        yield f"other bytes than {value.same_as}'s", replace(value, same_as=None, sha256="0" * 64)
    if value.length is not None:
        for said, length in ranges(value.length):
            yield f"length {said}", replace(value, length=length)


def _address(value: Address, hosts: Sequence[str]) -> Changed:
    if value.port is not None:
        port = value.port + 1 if value.port < 65535 else 1
        yield f"port {port} instead of {value.port}", replace(value, port=port)
    other = next((host for host in hosts if host != value.host), None)
    if other is not None:
        yield f"{other} instead of {value.host}", replace(value, host=other)


def _result(value: object) -> Changed:
    if isinstance(value, Range):
        yield from ranges(value)
    elif isinstance(value, Linger):
        changed = value.model_copy(update={"onoff": 1 - value.onoff})
        yield f"onoff {changed.onoff} instead of {value.onoff}", changed
    elif isinstance(value, int):
        yield f"{value + 1} instead of {value}", value + 1
    elif isinstance(value, str):
        yield f"{value!r} with more", f"{value} mutant"
    else:
        yield "1 instead of nothing", 1


def _ready(value: dict[str, list[str]]) -> Changed:
    """Each socket that poll() found: missing, with one event less, and with one more."""
    for name, events in value.items():
        yield f"without {name}", {other: theirs for other, theirs in value.items() if other != name}
        if len(events) > 1:
            yield f"{name} without {events[-1]}", value | {name: events[:-1]}
        more = next((event for event in EVENTS if event not in events), None)
        if more is not None:
            yield f"{name} with {more}", value | {name: [*events, more]}


# --- what steps expect ------------------------------------------------------------------------------------


def mutated_expects(expect: Expect | RunExpect, hosts: Sequence[str]) -> Changed:
    """Each key of an `expect` falsified in each way."""
    for key, said, value in _expect_keys(expect, hosts):
        yield f"{key}: {said}", expect.model_copy(update={key: value})


def _expect_keys(expect: Expect | RunExpect, hosts: Sequence[str]) -> Iterator[tuple[str, str, Any]]:
    if expect.elapsed is not None:
        yield from (("elapsed", said, value) for said, value in times(expect.elapsed))
    if isinstance(expect, RunExpect):
        if expect.error is not None:
            ended = "timeout" if expect.error == "killed" else "killed"
            yield "error", f"{ended} instead of {expect.error}", ended
            yield "error", f"none instead of {expect.error}", None
        if expect.exit is not None:
            yield from (("exit", said, value) for said, value in ranges(expect.exit))
        for key, text in (("stdout", expect.stdout), ("stderr", expect.stderr)):
            if text is not None:
                yield from ((key, said, value) for said, value in _text(text))
        return
    if expect.error is not None:
        other = _ERRORS.get(expect.error, "ECONNREFUSED")
        yield "error", f"{other} instead of {expect.error}", other
        yield "error", f"none instead of {expect.error}", None
    if expect.has_result:
        yield from (("result", said, value) for said, value in _result(expect.result))
    if expect.data is not None:
        yield from (("data", said, value) for said, value in _data(expect.data))
    for key, flag in (("eof", expect.eof), ("truncated", expect.truncated)):
        if flag is not None:
            yield key, f"{not flag} instead of {flag}".lower(), not flag
    if expect.ready is not None:
        yield from (("ready", said, value) for said, value in _ready(expect.ready))
    if expect.peer is not None:
        yield from (("peer", said, value) for said, value in _address(expect.peer, hosts))


# --- checks -----------------------------------------------------------------------------------------------


def mutated_checks(check: Check, hosts: Sequence[str]) -> Changed:
    """Each key of a check falsified in each way; a check that no rule knows has no mutants."""
    rule = MUTATORS.get(type(check))
    if rule is not None:
        for said, update in rule(check, hosts):
            yield said, check.model_copy(update=update)


def _each(key: str, changes: Changed) -> Iterator[tuple[str, dict[str, Any]]]:
    for said, value in changes:
        yield f"{key}: {said}", {key: value}


_Updates = Iterator[tuple[str, dict[str, Any]]]


def _handshake(check: HandshakeCheck, hosts: Sequence[str]) -> _Updates:
    if check.count is not None:
        yield from _each("count", ranges(check.count))
        if check.count.holds(0):
            return  # none in the other direction would not be a contradiction
    yield "from and to swapped", {"from_": check.to, "to": check.from_}
    if check.syn is not None:
        yield from _each("syn", ranges(check.syn))
    if check.elapsed is not None:
        yield from _each("elapsed", times(check.elapsed))


def _close(check: CloseCheck, hosts: Sequence[str]) -> _Updates:
    if check.count is not None:
        yield from _each("count", ranges(check.count))
        if check.count.holds(0):
            return  # none closed in another way would not be a contradiction
    how = "rst" if check.how == "fin" else "fin"
    yield f"how: {how} instead of {check.how}", {"how": how}
    if check.first is not None:
        other = next((end.host for end in (check.from_, check.to) if end.host != check.first), None)
        if other is not None:
            yield f"first: {other} instead of {check.first}", {"first": other}
    if check.segments is not None:
        segments = 7 - check.segments
        yield f"segments: {segments} instead of {check.segments}", {"segments": segments}


def _counted(
    check: PacketsCheck | RetransmissionsCheck | ReorderedCheck | DuplicatedCheck, hosts: Sequence[str]
) -> _Updates:
    yield from _each("count", ranges(check.count))


def _one_way(check: OneWayCheck, hosts: Sequence[str]) -> _Updates:
    yield from _each("delay", times(check.delay))


def _loss(check: LossCheck, hosts: Sequence[str]) -> _Updates:
    """Four times the rate and none at all: some hundred packets cannot tell twice the rate from the rate."""
    percent = check.rate.percent
    if percent > 0:
        yield f"rate: 0% instead of {check.rate}", {"rate": Percent(Decimal(0))}
    more = min(Decimal(100), percent * 4) if percent else Decimal(50)
    if more != percent:
        yield f"rate: {Percent(more)} instead of {check.rate}", {"rate": Percent(more)}


def _schedule(check: ScheduleCheck, hosts: Sequence[str]) -> _Updates:
    if check.gaps == "kernel":
        return
    gaps = list(check.gaps)
    for index, gap in enumerate(gaps):
        for word, factor in (("twice", Decimal(2)), ("half", Decimal("0.5"))):
            changed = [*gaps[:index], _scaled(gap, factor), *gaps[index + 1 :]]
            yield f"gaps: gap {index + 1} {word} {gap}", {"gaps": changed}
    yield "gaps: one less", {"gaps": gaps[:-1]}
    yield "gaps: one more", {"gaps": [*gaps, gaps[-1] if gaps else Duration(10**9)]}


#: States that only one end of a connection is ever in.
_ONE_SIDED = (
    "TIME_WAIT",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSE_WAIT",
    "LAST_ACK",
    "SYN_SENT",
    "SYN_RECV",
    "LISTEN",
)


def _state(check: StateCheck, hosts: Sequence[str]) -> _Updates:
    nothing = check.count is not None and check.count.max == 0
    if check.count is not None:
        yield from _each("count", ranges(check.count))
    else:
        yield "count: 0 instead of at least one", {"count": Range.exactly(0)}
    if nothing:  # no socket in another state would not be a contradiction
        return
    other = "CLOSING" if check.state != "CLOSING" else "CLOSE_WAIT"  # no socket is in both, ever
    yield f"state: {other} instead of {check.state}", {"state": other}
    if check.state in _ONE_SIDED and check.to is not None and check.to.host in hosts:
        port = check.to.port if check.port is None else check.port
        swapped = {"at": check.to.host, "to": Address(check.at), "port": port}
        yield f"at: {check.to.host} instead of {check.at}", swapped


def _counter(check: CounterCheck, hosts: Sequence[str]) -> _Updates:
    yield from _each("delta", ranges(check.delta))


def _call(check: CallCheck, hosts: Sequence[str]) -> _Updates:
    if check.count is not None:
        yield from _each("count", ranges(check.count))
    else:
        yield "count: 0 instead of at least one", {"count": Range.exactly(0)}
    if check.count is not None and check.count.min in (None, 0):
        return  # none of another kind would not be a contradiction
    if check.error is not None:
        other = _ERRORS.get(check.error, "ECONNREFUSED")
        yield f"error: {other} instead of {check.error}", {"error": other}
    if check.has_result:
        yield from _each("result", _result(check.result))
    if check.elapsed is not None:
        yield from _each("elapsed", times(check.elapsed))


def _service(check: ServiceCheck, hosts: Sequence[str]) -> _Updates:
    if check.exit is not None:
        yield from _each("exit", ranges(check.exit))
    if check.running is not None:
        flag = not check.running
        yield f"running: {flag} instead of {check.running}".lower(), {"running": flag}
    for key, text in (("stdout", check.stdout), ("stderr", check.stderr)):
        if text is not None:
            yield from _each(key, _text(text))


def _log(check: LogCheck, hosts: Sequence[str]) -> _Updates:
    if check.count is not None:
        yield from _each("count", ranges(check.count))
    else:
        yield "count: 0 instead of at least one", {"count": Range.exactly(0)}
    if check.count is not None and check.count.min in (None, 0) and not check.count.exact:
        return  # no other lines, or none in the other stream, would not be a contradiction
    yield from _each("match", _text(check.match))
    if check.stream is not None:
        other = "stderr" if check.stream == "stdout" else "stdout"
        yield f"stream: {other} instead of {check.stream}", {"stream": other}


def _value(check: ValueCheck, hosts: Sequence[str]) -> _Updates:
    """Values just beyond either bound."""
    for bound, beyond in ((check.is_.max, 1), (check.is_.min, -1)):
        if bound is not None:
            limits = (bound + beyond, None) if beyond > 0 else (None, bound + beyond)
            yield f"is: {Bounds(*limits)} instead of {check.is_}", {"is_": Bounds(*limits)}


def _order(check: OrderCheck, hosts: Sequence[str]) -> _Updates:
    if len(check.of) > 1:
        yield "of: reversed", {"of": list(reversed(check.of))}
    for index in range(len(check.of) - 1):
        if len(check.of) > 2:
            swapped = list(check.of)
            swapped[index], swapped[index + 1] = swapped[index + 1], swapped[index]
            yield f"of: {check.of[index]} and {check.of[index + 1]} swapped", {"of": swapped}


#: Every check that has something to falsify. `bytes` has no argument.
MUTATORS: dict[type[Check], Callable[[Any, Sequence[str]], _Updates]] = {
    HandshakeCheck: _handshake,
    CloseCheck: _close,
    PacketsCheck: _counted,
    RetransmissionsCheck: _counted,
    ReorderedCheck: _counted,
    DuplicatedCheck: _counted,
    OneWayCheck: _one_way,
    LossCheck: _loss,
    ScheduleCheck: _schedule,
    StateCheck: _state,
    CounterCheck: _counter,
    OrderCheck: _order,
    CallCheck: _call,
    ServiceCheck: _service,
    LogCheck: _log,
    ValueCheck: _value,
}
