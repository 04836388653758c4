"""What steps expect, judged on records made by hand: every key right and falsified."""

from __future__ import annotations

from typing import Any

import pytest

from lab.checks.expect import judge_call, judge_run
from lab.evidence.model import CallError, CallRecord, Endpoint
from lab.scenario.steps import parse_step
from lab.tolerance import Tolerance
from lab.units import Duration
from lab.verdict import Finding, Verdict
from tests.unit.check_helpers import ADDRESSES, call, program

RTT = Duration(20_000_000)


def judged(
    do: str,
    expect: dict[str, Any] | None,
    record: CallRecord,
    *,
    rtt: Duration | None = RTT,
    option: str = "SO_LINGER",
    **others: CallRecord,
) -> tuple[Finding, ...]:
    own: dict[str, dict[str, Any]] = {
        "connect": {"to": "server:8001"}, "recv": {"on": "c", "size": 100}, "send": {"on": "c", "data": "x"},
        "sendall": {"on": "c", "data": "x"}, "recvfrom": {"on": "c", "size": 100}, "accept": {"on": "c"},
        "getsockopt": {"on": "c", "option": option}, "drain": {"on": "c"},
    }  # fmt: skip
    keys: dict[str, Any] = {"do": do, "at": "client", **own[do]}
    if expect is not None:
        keys["expect"] = expect
    step: Any = parse_step(keys)
    return judge_call(
        step,
        record,
        rtt=rtt,
        tolerance=Tolerance(),
        calls={record.step: record, **others},
        addresses=ADDRESSES,
    )


def one(*args: Any, **more: Any) -> Finding:
    (finding,) = judged(*args, **more)
    return finding


def test_a_call_that_goes_well_and_expects_nothing_says_nothing() -> None:
    assert judged("connect", None, call("s", "connect")) == ()


def test_an_error_that_nobody_expected_fails_once() -> None:
    record = call("s", "recv", error="ECONNRESET")
    finding = one("recv", None, record)
    assert finding.verdict is Verdict.FAIL
    assert finding.name == "recv.error"
    assert finding.reason == "recv() failed with ECONNRESET, and no error was expected"
    assert [f.name for f in judged("recv", {"data": "x", "elapsed": "1ms"}, record)] == [
        "recv.error",
        "recv.elapsed",
    ]


@pytest.mark.parametrize(
    ("error", "wanted", "verdict"),
    [
        ("ECONNREFUSED", "ECONNREFUSED", Verdict.PASS),
        ("ECONNREFUSED", "ECONNRESET", Verdict.FAIL),
        ("timeout", "timeout", Verdict.PASS),
        ("timeout", "ETIMEDOUT", Verdict.FAIL),
        ("ETIMEDOUT", "timeout", Verdict.FAIL),
        ("EAGAIN", "EWOULDBLOCK", Verdict.PASS),
        ("ENOTSUP", "EOPNOTSUPP", Verdict.PASS),
        (None, "ECONNREFUSED", Verdict.FAIL),
    ],
)
def test_errors(error: str | None, wanted: str, verdict: Verdict) -> None:
    assert one("connect", {"error": wanted}, call("s", "connect", error=error)).verdict is verdict


@pytest.mark.parametrize(
    ("took", "wanted", "verdict"),
    [
        (20.0, "1rtt", Verdict.PASS),
        (23.9, "1rtt", Verdict.PASS),
        (24.1, "1rtt", Verdict.FAIL),
        (18.9, "1rtt", Verdict.FAIL),
        (30.0, "1.5rtt", Verdict.PASS),
        (1100.0, "1s", Verdict.PASS),
        (1126.0, "1s", Verdict.FAIL),
        (998.0, "1s", Verdict.FAIL),
        (90.0, {"min": "90ms", "max": "150ms"}, Verdict.PASS),
        (89.9, {"min": "90ms", "max": "150ms"}, Verdict.FAIL),
        (150.1, {"min": "90ms", "max": "150ms"}, Verdict.FAIL),
        (500.0, {"min": "90ms"}, Verdict.PASS),
        (21.0, {"max": "1rtt"}, Verdict.FAIL),
    ],
)
def test_elapsed(took: float, wanted: Any, verdict: Verdict) -> None:
    finding = one("connect", {"elapsed": wanted}, call("s", "connect", took=took))
    assert finding.verdict is verdict, finding
    assert finding.margin
    assert finding.tolerance


def test_elapsed_says_all_that_a_reader_needs() -> None:
    finding = one("connect", {"elapsed": "1rtt"}, call("s", "connect", took=30))
    assert finding.expected == "1rtt (1rtt is 20ms here)"
    assert finding.actual == "30 ms"
    assert finding.tolerance == "19 ms … 24 ms (late by max(4 ms, 12.5 %), early by 1 ms)"
    assert finding.margin == "-6 ms"
    assert finding.reason == "connect() took 30 ms: 6 ms more than the 24 ms allowed"


def test_a_round_trip_with_nobody_fails() -> None:
    finding = one("accept", {"elapsed": "1rtt"}, call("s", "accept"), rtt=None)
    assert finding.verdict is Verdict.FAIL
    assert "no known peer" in finding.reason


@pytest.mark.parametrize(
    ("wanted", "verdict", "reason"),
    [
        ("hello", Verdict.PASS, ""),
        ({"hex": "68656c6c6f"}, Verdict.PASS, ""),
        ({"length": 5}, Verdict.PASS, ""),
        ({"length": {"min": 1, "max": 9}}, Verdict.PASS, ""),
        ({"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}, Verdict.PASS, ""),
        ({"same_as": "sent"}, Verdict.PASS, ""),
        ("help!", Verdict.FAIL, "the first difference is at byte 3, after b'hel': b'lo', and not b'p!'"),
        ("hell", Verdict.FAIL, "5 bytes came and 4 were expected"),
        ("hello!", Verdict.FAIL, "5 bytes came and 6 were expected"),
        ("", Verdict.FAIL, "5 bytes came and 0 were expected"),
        ({"length": 6}, Verdict.FAIL, "5 bytes came, and not 6"),
        ({"sha256": "00" * 32}, Verdict.FAIL, "sha256"),
        ({"same_as": "other"}, Verdict.FAIL, "not the same bytes"),
        ({"same_as": "longer"}, Verdict.FAIL, "6 in step longer"),
        ({"same_as": "nothing"}, Verdict.FAIL, "no data to compare with"),
        ({"random": 5, "seed": 1}, Verdict.FAIL, "first difference"),
    ],
)
def test_data(wanted: Any, verdict: Verdict, reason: str) -> None:
    others = {
        "sent": call("sent", "sendall", data=b"hello"),
        "other": call("other", "sendall", data=b"jello"),
        "longer": call("longer", "sendall", data=b"hello!"),
        "nothing": call("nothing", "connect"),
    }
    finding = one("recv", {"data": wanted}, call("s", "recv", data=b"hello"), **others)
    assert finding.verdict is verdict, finding
    assert reason in finding.reason


def test_long_data_is_judged_whole_by_its_hash() -> None:
    whole = b"x" * 200_000
    record = call("s", "drain", data=whole)
    cut = call("s", "drain", data=b"x" * 65_536, length=200_000, sha256=record.sha256)
    assert one("drain", {"data": {"repeat": "x", "times": 200_000}}, cut).verdict is Verdict.PASS
    finding = one("drain", {"data": {"repeat": "xxxxy", "times": 40_000}}, cut)
    assert "first difference is at byte 4" in finding.reason
    broken = call("s", "drain", data=b"x" * 65_536, length=200_000, sha256="00" * 32)
    finding = one("drain", {"data": {"repeat": "x", "times": 200_000}}, broken)
    assert "differ beyond byte 65,536" in finding.reason


@pytest.mark.parametrize(("wanted", "eof"), [(True, True), (False, False), (True, False), (False, True)])
def test_eof(wanted: bool, eof: bool) -> None:
    record = call("s", "recv", data=b"" if eof else b"more", eof=eof)
    finding = one("recv", {"eof": wanted}, record)
    assert (finding.verdict is Verdict.PASS) == (wanted == eof)
    if eof:
        assert one("recv", {"data": ""}, record).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        ("server", Verdict.PASS),
        ("server:9000", Verdict.PASS),
        ("198.18.0.11:9000", Verdict.PASS),
        ("server:9001", Verdict.FAIL),
        ("third", Verdict.FAIL),
        ("198.18.0.99", Verdict.FAIL),
    ],
)
def test_peer(wanted: str, verdict: Verdict) -> None:
    record = call("s", "recvfrom", data=b"x", peer=Endpoint(ADDRESSES["server"], 9000), truncated=False)
    assert one("recvfrom", {"peer": wanted}, record).verdict is verdict


@pytest.mark.parametrize("truncated", [True, False])
def test_truncated(truncated: bool) -> None:
    record = call("s", "recvfrom", data=b"x", truncated=truncated)
    assert one("recvfrom", {"truncated": truncated}, record).verdict is Verdict.PASS
    assert one("recvfrom", {"truncated": not truncated}, record).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("do", "got", "wanted", "verdict"),
    [
        ("send", 5, 5, Verdict.PASS),
        ("send", 5, {"min": 1, "max": 9}, Verdict.PASS),
        ("send", 5, 6, Verdict.FAIL),
        ("send", None, 0, Verdict.FAIL),
        ("sendall", None, None, Verdict.PASS),
        ("sendall", 5, None, Verdict.FAIL),
        ("getsockopt", {"onoff": 1, "seconds": 0}, {"onoff": 1, "seconds": 0}, Verdict.PASS),
        ("getsockopt", {"onoff": 1, "seconds": 0}, {"onoff": 0, "seconds": 0}, Verdict.FAIL),
        ("getsockopt", 131072, {"min": 100000}, Verdict.PASS),
        ("getsockopt", "cubic", "reno", Verdict.FAIL),
    ],
)
def test_result(do: str, got: Any, wanted: Any, verdict: Verdict) -> None:
    assert one(do, {"result": wanted}, call("s", do, result=got)).verdict is verdict


@pytest.mark.parametrize(
    ("option", "got", "wanted", "verdict"),
    [
        ("SO_RCVTIMEO", 0.5, "500ms", Verdict.PASS),
        ("SO_RCVTIMEO", 0.5, "501ms", Verdict.FAIL),
        ("TCP_KEEPIDLE", 7, "7s", Verdict.PASS),
        ("TCP_KEEPIDLE", 7, 7, Verdict.PASS),
        ("TCP_USER_TIMEOUT", 2500, "2.5s", Verdict.PASS),
        ("TCP_USER_TIMEOUT", 2500, "2500us", Verdict.FAIL),
        ("TCP_CONGESTION", "500ms", "500ms", Verdict.PASS),
        ("IP_LOCAL_PORT_RANGE", -1666933696, 40100 << 16 | 40000, Verdict.PASS),
        ("IP_LOCAL_PORT_RANGE", -1666933696, 40100 << 16 | 40001, Verdict.FAIL),
        ("SO_COOKIE", 2**32 + 7, 7, Verdict.FAIL),
        ("TCP_KEEPIDLE", None, "7s", Verdict.FAIL),
    ],
)
def test_the_value_of_an_option_is_compared_as_the_kernel_means_it(
    option: str, got: Any, wanted: Any, verdict: Verdict
) -> None:
    record = call("s", "getsockopt", result=got, arguments={"option": option})
    assert one("getsockopt", {"result": wanted}, record, option=option).verdict is verdict


def test_every_key_gives_its_own_finding() -> None:
    record = call("s", "recvfrom", data=b"x", truncated=True, peer=Endpoint(ADDRESSES["server"], 1), took=5)
    findings = judged(
        "recvfrom", {"data": "x", "truncated": True, "peer": "server", "elapsed": {"max": "1s"}}, record
    )
    assert {f.name for f in findings} == {
        "recvfrom.data", "recvfrom.truncated", "recvfrom.peer", "recvfrom.elapsed"
    }  # fmt: skip
    assert all(f.verdict is Verdict.PASS for f in findings)


def test_an_error_with_a_message_is_shown_whole() -> None:
    error = CallError("ECONNREFUSED", 111, "Connection refused")
    finding = one("connect", None, call("s", "connect", error=error))
    assert finding.actual == "ECONNREFUSED (errno 111): Connection refused"


# --- programs ---------------------------------------------------------------------------------------------


def ran(expect: dict[str, Any] | None, **record: Any) -> tuple[Finding, ...]:
    keys = {"do": "run", "at": "client", "command": ["tool"]} | ({"expect": expect} if expect else {})
    step: Any = parse_step(keys)
    return judge_run(step, program("s", **record), tolerance=Tolerance())


@pytest.mark.parametrize(
    ("expect", "record", "verdict"),
    [
        ({"exit": 0}, {"code": 0}, Verdict.PASS),
        ({"exit": 0}, {"code": 1}, Verdict.FAIL),
        ({"exit": 1}, {"code": 0}, Verdict.FAIL),
        ({"exit": 0}, {"code": None}, Verdict.FAIL),
        ({"exit": -9}, {"code": -9}, Verdict.PASS),
        ({"stdout": "hello"}, {"stdout": "hello\n"}, Verdict.PASS),
        ({"stdout": "hello\n"}, {"stdout": "hello"}, Verdict.PASS),
        ({"stdout": "hello"}, {"stdout": "hello!\n"}, Verdict.FAIL),
        ({"stdout": "/[0-9]+ received/"}, {"stdout": "5 sent\n3 received\n"}, Verdict.PASS),
        ({"stdout": "/^received/"}, {"stdout": "5 sent\n3 received\n"}, Verdict.FAIL),
        ({"stderr": ""}, {"stderr": ""}, Verdict.PASS),
        ({"stderr": ""}, {"stderr": "oops\n"}, Verdict.FAIL),
        ({"elapsed": "100ms"}, {"took": 101}, Verdict.PASS),
        ({"elapsed": "100ms"}, {"took": 201}, Verdict.FAIL),
    ],
)
def test_programs(expect: dict[str, Any], record: dict[str, Any], verdict: Verdict) -> None:
    (finding,) = ran(expect, **record)
    assert finding.verdict is verdict, finding


@pytest.mark.parametrize(
    ("wanted", "code", "error", "ended_by", "verdict"),
    [
        ("killed", -9, None, "steps[3]", Verdict.PASS),
        ("killed", None, "killed", "steps[3]", Verdict.PASS),
        ("killed", -9, None, None, Verdict.FAIL),
        ("killed", -15, None, "", Verdict.FAIL),
        ("killed", 0, None, None, Verdict.FAIL),
        ("timeout", -9, "timeout", None, Verdict.PASS),
        ("timeout", 0, None, None, Verdict.FAIL),
    ],
)
def test_who_ended_a_program(
    wanted: str, code: int | None, error: str | None, ended_by: str | None, verdict: Verdict
) -> None:
    (finding,) = ran({"error": wanted}, code=code, error=error, ended_by=ended_by)
    assert finding.verdict is verdict


def test_what_a_step_or_the_lab_ended_need_not_exit_with_0() -> None:
    assert ran(None, code=-9, ended_by="steps[3]") == ()
    assert ran(None, code=-15, ended_by="") == ()
    assert ran(None, code=None, error="killed", ended_by="power") == ()


def test_a_program_without_expectations_must_at_least_run() -> None:
    assert ran(None, code=0) == ()
    (finding,) = ran(None, code=7)
    assert (finding.verdict, finding.reason) == (Verdict.FAIL, "exit status: 7, and not 0")
    (finding,) = ran(None, code=None, error="timeout")
    assert finding.reason == "tool ran out of time"
    (finding,) = ran(None, code=None, error="no such file")
    assert finding.verdict is Verdict.FAIL
    assert finding.reason == "tool did not run: no such file"
    (finding,) = ran({"exit": 0}, code=None, error="timeout")
    assert "ran out of time" in finding.reason
