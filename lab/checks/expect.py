"""Judges a step's `expect` against its call or program. Pure: the same live and in `recheck`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lab.checks.common import HasPlace, Held, allowed, failed, finding, found, hold_time, passed
from lab.checks.parting import first_difference, parting
from lab.errors import UnitError
from lab.evidence.model import CallRecord, RunRecord
from lab.evidence.types import EMPTY_SHA256
from lab.limits import REACHED
from lab.patterns import PatternTooSlow
from lab.quantities import duration, plural
from lab.scenario.base import Model
from lab.scenario.data import Data, DataExpect
from lab.scenario.expects import Expect, HexValue, RunExpect
from lab.scenario.ranges import Elapsed, Range
from lab.scenario.values import Address
from lab.scenario.words import ERROR_ALIASES
from lab.socket_options import OPTIONS, TIMES, Option, error_number, nanoseconds
from lab.tolerance import Tolerance
from lab.units import Duration
from lab.verdict import Finding

_AROUND = 4096  #: bytes of the expected data after the received ones


class Expecting(HasPlace, Protocol):
    """A step that may expect something of a call: the call itself, or its `await`."""

    @property
    def expect(self) -> Expect | RunExpect | None: ...


def judge_call(
    step: Expecting,
    record: CallRecord,
    *,
    rtt: Duration | None,
    tolerance: Tolerance,
    calls: Mapping[str, CallRecord],
    addresses: Mapping[str, str],
    error_elsewhere: bool = False,
) -> tuple[Finding, ...]:
    """One finding for each key of `expect`, and one for an unexpected error.

    `rtt` is the configured round trip of the two hosts that talk, for times in `rtt`; `calls` holds the
    records of all steps so far, for `same_as`; `addresses` the hosts' addresses by name, for `peer`.
    `error_elsewhere`: another step (a background call and its `await`) says which error is expected.
    A call that succeeded and expects nothing gives no finding.
    """
    expect = step.expect if isinstance(step.expect, Expect) else Expect()
    if expect.any:
        return ()
    findings = _error(step, record, expect.error, error_elsewhere)
    if expect.elapsed is not None:
        held = hold_elapsed(expect.elapsed, record.elapsed_ns, rtt, tolerance, f"{record.call}()")
        findings.append(found(step, f"{record.call}.elapsed", held))
    if record.error is not None and expect.error is None and not error_elsewhere:
        return tuple(findings)  # there is no result and no data: one failure is reported once
    if expect.ready is not None:
        findings.append(_ready(step, record, expect.ready))
    if expect.has_result:
        findings.append(judge_result(step, record, expect.result))
    if expect.data is not None:
        findings.append(_data(step, record, expect.data, calls))
    if expect.eof is not None:
        findings.append(_eof(step, record, expect.eof))
    if expect.peer is not None:
        findings.append(_peer(step, record, expect.peer, addresses))
    if expect.truncated is not None:
        findings.append(_truncated(step, record, expect.truncated))
    return tuple(findings)


def hold_elapsed(
    elapsed: Elapsed, actual_ns: int, rtt: Duration | None, tolerance: Tolerance, what: str
) -> Held:
    """Hold a measured time against `elapsed` of a step or a check."""
    if elapsed.needs_rtt and rtt is None:
        reason = (
            f"{what}: {elapsed} needs the two hosts that talk, and this one has no known peer; "
            "write the time in ms instead"
        )
        return Held(False, str(elapsed), duration(actual_ns), "", "", reason)
    low, high = elapsed.bounds(tolerance, rtt)
    text = str(elapsed)
    if elapsed.needs_rtt and rtt is not None:
        text += f" (1rtt is {rtt} here)"
    if elapsed.exact is not None and low is not None and high is not None:
        return hold_time(
            actual_ns, text, low, high, f"{allowed(low, high)} ({tolerance_text(tolerance)})", what
        )
    return hold_time(actual_ns, text, low, high, "none beside the limits as written", what)


def tolerance_text(tolerance: Tolerance) -> str:
    """The rule in words: `late by max(4 ms, 12.5 %), early by 1 ms`."""
    late = f"late by max({duration(tolerance.late_ns)}, {tolerance.late_share * 100:g} %)"
    machine = f" + {duration(tolerance.machine_ns)} for this machine" if tolerance.machine_ns else ""
    return f"{late}{machine}, early by {duration(tolerance.early_ns)}"


def _error(step: Expecting, record: CallRecord, wanted: str | None, elsewhere: bool) -> list[Finding]:
    call = record.call
    name = f"{call}.error"
    if record.error is None:
        if wanted is None:
            return []
        reason = f"{call}() was to fail with {wanted}, and did not fail"
        return [failed(step, name, wanted, "no error", reason)]
    errno = "" if record.error.errno is None else f" (errno {record.error.errno})"
    actual = f"{record.error.name}{errno}: {record.error.message}".rstrip(": ")
    if wanted is None:
        if elsewhere:
            return []
        reason = f"{call}() failed with {record.error.name}, and no error was expected"
        return [failed(step, name, "no error", actual, reason)]
    if not same_error(record.error.name, wanted):
        reason = f"{call}() failed with {record.error.name}, and {wanted} was expected"
        return [failed(step, name, wanted, actual, reason)]
    return [passed(step, name, wanted, actual)]


def same_error(got: str, wanted: str) -> bool:
    """EAGAIN and EWOULDBLOCK are one error."""
    return ERROR_ALIASES.get(got, got) == ERROR_ALIASES.get(wanted, wanted)


def judge_result(step: HasPlace, record: CallRecord, wanted: object) -> Finding:
    """Judge what a call returned against a value, a range, or the fields of one."""
    name = f"{record.call}.result"
    got = record.result
    if isinstance(wanted, dict):
        return _fields(step, record, wanted)
    if isinstance(wanted, str) and record.arguments.get("option") == "SO_ERROR":
        wanted = error_number(wanted) if error_number(wanted) is not None else wanted
    option = OPTIONS.get(str(record.arguments.get("option")))
    if isinstance(wanted, str) and option is not None and option.kind in TIMES:
        return _span(step, record, wanted, option)
    if isinstance(wanted, Range):
        same = isinstance(got, int) and wanted.holds(got)
    elif isinstance(wanted, HexValue):
        same = bool(bytes.fromhex(wanted.hex).hex() == got)
    elif option is not None and isinstance(wanted, int) and isinstance(got, int):
        same = wanted == got or (option.size == 4 and (wanted - got) % 2**32 == 0)  # -1 and 4294967295
    elif isinstance(wanted, Model):
        same = bool(wanted.model_dump() == got)
    else:
        same = bool(wanted == got)
    expected, actual = _json(wanted.model_dump() if isinstance(wanted, Model) else wanted), _json(got)
    reason = "" if same else f"{record.call}() returned {actual}, and not {expected}"
    return finding(step, name, expected, actual, reason)


def _span(step: HasPlace, record: CallRecord, wanted: str, option: Option) -> Finding:
    """Judge the value of an option that counts time against a duration."""
    name, ns = f"{record.call}.result", nanoseconds(option, record.result)
    actual = _json(record.result) if ns is None else str(Duration(ns))
    try:
        same = Duration.parse(wanted).ns == ns
    except UnitError:  # from an `await` or a `call` check, whose option `lab check` does not know
        same = False
    reason = "" if same else f"{record.call}() returned {actual}, and not {wanted}"
    return finding(step, name, wanted, actual, reason)


def _ready(step: Expecting, record: CallRecord, wanted: Mapping[str, Sequence[str]]) -> Finding:
    """Judge which sockets poll() found ready, and for what, exactly."""
    got = record.result if isinstance(record.result, Mapping) else {}
    expected, actual = _events(wanted), _events(got)
    same = {n: set(events) for n, events in wanted.items()} == {n: set(events) for n, events in got.items()}
    reason = "" if same else f"poll() found {actual}, and not {expected}"
    return finding(step, "poll.ready", expected, actual, reason)


def _events(ready: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name} {'+'.join(events) or 'nothing'}" for name, events in ready.items()) or "nothing"


def _fields(step: HasPlace, record: CallRecord, wanted: Mapping[str, Range]) -> Finding:
    """Judge fields of TCP_INFO; those that are not named are ignored."""
    name = f"{record.call}.result"
    got = record.result if isinstance(record.result, Mapping) else {}
    expected = ", ".join(f"{field} {limits}" for field, limits in wanted.items())
    actual = ", ".join(f"{field} {got.get(field, 'not there')}" for field in wanted)
    wrong = [
        f"{field} is {got[field]}, and not {limits}" if field in got else f"this kernel has no {field}"
        for field, limits in wanted.items()
        if field not in got or not limits.holds(int(got[field]))
    ]
    reason = f"{record.arguments.get('option')}: {'; '.join(wrong)}" if wrong else ""
    return finding(step, name, expected, actual, reason)


def _json(value: object) -> str:
    return "nothing" if value is None else str(value)


def _data(
    step: Expecting, record: CallRecord, wanted: DataExpect, calls: Mapping[str, CallRecord]
) -> Finding:
    differs = _data_differs(record, wanted, calls)
    reason = f"{record.call}(): {differs}" if differs else ""
    return finding(step, f"{record.call}.data", str(wanted), describe_data(record), reason)


def _data_differs(record: CallRecord, wanted: DataExpect, calls: Mapping[str, CallRecord]) -> str:
    """Why the data is not as expected; "" if it is."""
    if record.length is None:
        return "no data came"
    sha256 = record.sha256 or (EMPTY_SHA256 if record.length == 0 else "")
    if wanted.length is not None and not wanted.length.holds(record.length):
        return f"{record.length:,} bytes came, and not {wanted.length}"
    if wanted.data is not None and (
        wanted.data.length != record.length or wanted.data.sha256() != sha256  # 1 GiB takes seconds to hash
    ):
        return _difference(wanted.data, record)
    if wanted.sha256 is not None and wanted.sha256.lower() != sha256:
        return f"the data's sha256 is {sha256[:16]}…, and not {wanted.sha256[:16]}…"
    if wanted.same_as is not None:
        other = calls.get(wanted.same_as)
        if other is None or other.length is None or (other.sha256 is None and other.length > 0):
            return f"step {wanted.same_as} handled no data to compare with"
        if other.length != record.length:
            return f"{record.length:,} bytes came, and {other.length:,} in step {wanted.same_as}"
        if (other.sha256 or EMPTY_SHA256) != sha256:
            return (
                f"{record.length:,} bytes came, as in step {wanted.same_as}, but they are not the same bytes"
            )
    return ""


def _difference(expected: Data, record: CallRecord) -> str:
    """The first byte that differs, as far as the record holds the data."""
    got = record.data or b""
    wanted = expected.begin(len(got) + _AROUND)
    lengths = f"{record.length:,} bytes came and {expected.length:,} were expected"
    at = first_difference(wanted, got)
    if at is not None and (at < len(got) or len(got) == record.length):
        here = parting(wanted, got)
        return here if record.length == expected.length else f"{lengths}; {here}"
    if record.length != expected.length:
        return lengths
    return f"{record.length:,} bytes came as expected, but they differ beyond byte {len(got):,}"


def describe_data(record: CallRecord) -> str:
    """The received data in words: its text if it is short, always its length."""
    if record.length is None:
        return "no data"
    if record.length == 0:
        return "0 bytes"
    length = plural(record.length, "byte")
    if record.data is not None and len(record.data) == record.length <= 60:
        return f"{_readable(record.data)} ({length})"
    digest = f", sha256 {record.sha256[:16]}…" if record.sha256 else ""
    head = f"{_readable(record.data[:40])}…" if record.data else ""
    return f"{head} ({length}{digest})".strip()


def _readable(data: bytes) -> str:
    try:
        return repr(data.decode("utf-8"))
    except UnicodeDecodeError:
        return f"hex {data.hex()}"


def _eof(step: Expecting, record: CallRecord, wanted: bool) -> Finding:
    name = f"{record.call}.eof"
    words = {True: "the end of the stream", False: "not the end of the stream"}
    if record.eof == wanted:
        return passed(step, name, words[wanted], words[record.eof])
    got = f"{record.call}() gave {describe_data(record)}" if wanted else f'{record.call}() gave b""'
    reason = f"{got}: the peer has {'not ' if wanted else ''}closed its side"
    return failed(step, name, words[wanted], words[record.eof], reason)


def _peer(step: Expecting, record: CallRecord, wanted: Address, addresses: Mapping[str, str]) -> Finding:
    name = f"{record.call}.peer"
    names = {address: host for host, address in addresses.items()}
    if record.peer is None:
        return failed(step, name, str(wanted), "no peer", f"{record.call}() reported no peer")
    got = record.peer
    actual = str(got) + (f" ({names[got.address]})" if got.address in names else "")
    address = wanted.host if wanted.literal else addresses.get(wanted.host)
    same = got.address == address and wanted.port in (None, got.port)
    reason = "" if same else f"{record.call}(): the peer is {actual}, and not {wanted}"
    return finding(step, name, str(wanted), actual, reason)


def _truncated(step: Expecting, record: CallRecord, wanted: bool) -> Finding:
    words = {True: "truncated", False: "whole", None: "not told"}
    expected, actual = words[wanted], words[record.truncated]
    same = record.truncated == wanted
    reason = "" if same else f"{record.call}(): the datagram was {actual}, and not {expected}"
    return finding(step, f"{record.call}.truncated", expected, actual, reason)


def judge_run(
    step: Expecting,
    record: RunRecord,
    *,
    tolerance: Tolerance,
    end_elsewhere: bool = False,
) -> tuple[Finding, ...]:
    """One finding for each key of `expect`, and one for a program that ended unexpectedly.

    `end_elsewhere`: another step (a background run and its `await`) says how it should end. Text is equal
    except for final newlines (a program's last line has one, a scenario's text has none); `/regex/` is found
    anywhere.
    """
    program = record.command[0] if record.command else "the program"
    if step.expect is not None and step.expect.any and record.error in (None, "timeout", "killed"):
        return ()
    expect = step.expect or RunExpect()
    wanted_error = expect.error
    if isinstance(expect, Expect):  # an `await` of `elapsed` or `error` alone does not tell what it awaits
        expect = RunExpect() if expect.elapsed is None else RunExpect(elapsed=expect.elapsed)
    if record.error not in (None, "timeout", "killed"):
        what = f"was stopped: {record.error}" if REACHED in record.error else f"did not run: {record.error}"
        return (failed(step, "run.error", "a program that runs", record.error, f"{program} {what}"),)
    findings: list[Finding] = []
    if wanted_error is not None:
        findings.append(_run_error(step, record, wanted_error, program))
    elif expect.exit is not None:
        findings.append(_exit(step, record, expect.exit))
    elif not end_elsewhere:
        if record.error == "timeout":
            reason = f"{program} ran out of time"
            findings.append(failed(step, "run.error", "an end in time", "timeout", reason))
        elif record.exit_code != 0 and record.ended_by is None:
            findings.append(_exit(step, record, Range(0, 0)))
    if expect.elapsed is not None:
        took = record.end_mono_ns - record.start_mono_ns
        held = hold_elapsed(expect.elapsed, took, None, tolerance, program)
        findings.append(found(step, "run.elapsed", held))
    for name, wanted, output in (
        ("stdout", expect.stdout, record.stdout),
        ("stderr", expect.stderr, record.stderr),
    ):
        if wanted is None:
            continue
        differs = "holds nothing that matches" if wanted.regex else "is not"
        try:
            reason = "" if wanted.holds(output) else f"{name} {differs} {wanted}"
        except PatternTooSlow as error:
            reason = str(error)
        findings.append(finding(step, f"run.{name}", str(wanted), _output(output), reason))
    return tuple(findings)


def _run_error(step: Expecting, record: RunRecord, wanted: str, program: str) -> Finding:
    """Judge against `killed` or `timeout`. Killed: a step ended it, or cut its power."""
    if record.error is not None:
        actual = record.error
    elif record.ended_by:
        actual = "killed"
    else:
        actual = _ended(record)
    if actual == wanted:
        by = f" by {record.ended_by}" if record.ended_by else ""
        return passed(step, "run.error", wanted, f"{actual}{by}")
    ended = "; the lab ended it after the steps" if record.ended_by == "" else ""
    reason = f"{program} was to end by {wanted}, and not with {actual}{ended}"
    return failed(step, "run.error", wanted, actual, reason)


def _ended(record: RunRecord) -> str:
    code = record.exit_code
    if record.error == "timeout":
        return "it ran out of time"
    if code is None:
        return record.error or "it did not end"
    return str(code) if code >= 0 else f"killed by signal {-code}"


def _exit(step: Expecting, record: RunRecord, wanted: Range) -> Finding:
    code = record.exit_code
    actual = _ended(record)
    if code is not None and wanted.holds(code):
        return passed(step, "run.exit", str(wanted), actual)
    tail = record.stderr.strip().splitlines()[-1:]
    said = f"; its last line of stderr: {tail[0][:120]}" if tail else ""
    return failed(step, "run.exit", str(wanted), actual, f"exit status: {actual}, and not {wanted}{said}")


def _output(text: str) -> str:
    shown = repr(text.rstrip("\n"))
    return shown if len(shown) <= 200 else f"{shown[:190]}… ({len(text):,} characters)"
