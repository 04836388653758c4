"""The check of recorded calls, `any`, and the result that an `await` expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.checks import judge
from lab.checks.common import Context
from lab.evidence.model import CallError, CallRecord, Endpoint, Json, RunRecord
from lab.evidence.store import Evidence
from lab.judging.case import judge_case
from lab.scenario.checks import parse_check
from lab.scenario.load import load
from lab.scenario.ranges import Range
from lab.scenario.steps import Await
from lab.verdict import Finding, Verdict
from tests.unit.check_helpers import ADDRESSES, MS, T0, Story

REFUSED = CallError("ECONNREFUSED", 111, "Connection refused")


def call(step: str, name: str, start_ms: int, took_ms: int, **more: Any) -> CallRecord:
    start, end = start_ms * MS, (start_ms + took_ms) * MS
    arguments: dict[str, Json] = more.pop("arguments", {})
    process: str = more.pop("process", "main")
    times = (start, end, T0 + start, T0 + end)
    return CallRecord(step, "client", process, name, arguments, "c", 3, "tcp", *times, **more)


def evidence(folder: Path) -> Evidence:
    base = Story(folder).evidence()
    to: dict[str, Json] = {"to": "server:8001"}
    local, remote = Endpoint(ADDRESSES["client"], 40000), Endpoint(ADDRESSES["server"], 8001)
    calls = (
        call("one", "connect", 0, 40, arguments=to, error=REFUSED),
        call("two", "connect", 100, 40, arguments=to, local=local, remote=remote),
        call(
            "three", "connect", 200, 500, arguments=to, error=CallError("timeout", None, ""), process="other"
        ),
        call("four", "setsockopt", 800, 0, arguments={"option": "TCP_USER_TIMEOUT", "value": "3s"}),
        call("five", "getsockopt", 900, 0, arguments={"option": "TCP_USER_TIMEOUT"}, result=3000),
        call("six", "send", 1000, 0, remote=remote, local=local, result=5),
    )
    return replace(base, records=replace(base.records, calls=calls))


def judged(folder: Path, **keys: Any) -> Finding:
    found = evidence(folder)
    return judge(parse_check({"check": "call", "at": "client", **keys}), found, Context.of(found.records))


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({}, 6),
        ({"call": "connect"}, 3),
        ({"call": "connect", "error": "ECONNREFUSED"}, 1),
        ({"call": "connect", "result": None}, 1),
        ({"process": "other"}, 1),
        ({"to": "server"}, 4),
        ({"to": "server:8002"}, 0),
        ({"port": 40000}, 2),
        ({"port": 8001}, 4),
        ({"elapsed": {"min": "500ms"}}, 1),
        ({"elapsed": "40ms"}, 2),
        ({"option": "TCP_USER_TIMEOUT"}, 2),
        ({"option": "TCP_USER_TIMEOUT", "value": 3000}, 1),
        ({"option": "TCP_USER_TIMEOUT", "value": "3s"}, 1),
        ({"option": "TCP_USER_TIMEOUT", "value": 3}, 0),
        ({"call": "getsockopt", "result": {"min": 2000}}, 1),
        ({"result": 5}, 1),
        ({"call": "connect", "after": "one"}, 2),
        ({"call": "connect", "before": "three"}, 2),
    ],
)
def test_so_many_are_like_this(keys: dict[str, Any], count: int, tmp_path: Path) -> None:
    assert judged(tmp_path, **keys, count=count).verdict is Verdict.PASS
    assert judged(tmp_path, **keys, count=count + 1).verdict is Verdict.FAIL
    wanted = Verdict.PASS if count else Verdict.FAIL
    assert judged(tmp_path, **keys).verdict is wanted


def test_a_failure_says_what_was_recorded(tmp_path: Path) -> None:
    finding = judged(tmp_path, call="connect", error="ECONNRESET")
    assert finding.reason == (
        "calls of connect at client with ECONNRESET: 0, and not at least 1; recorded: 3 calls: "
        "1 connect ECONNREFUSED, 1 connect, 1 connect timeout"
    )


def scenario(folder: Path, step: str) -> Path:
    path = folder / "s.yml"
    path.write_text(f"lab: 1\nsteps:\n  - {step}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("error", [None, REFUSED])
def test_any_takes_a_call_as_it_turns_out(error: CallError | None, tmp_path: Path) -> None:
    step = '{do: connect, at: client, to: "server:8001", as: c, id: x, EXPECT}'
    base = Story(tmp_path).evidence()
    found = replace(base, records=replace(base.records, calls=(call("x", "connect", 0, 40, error=error),)))
    (open_case,) = load(scenario(tmp_path, step.replace("EXPECT", "expect: {any: true}")))
    assert judge_case(open_case.scenario, found) == ()
    (case,) = load(scenario(tmp_path, step.replace(", EXPECT", "")))
    assert bool(judge_case(case.scenario, found)) == (error is not None)


@pytest.mark.parametrize("at", ["step", "await"])
def test_any_of_a_background_call_stands_at_either(at: str, tmp_path: Path) -> None:
    own, awaited = (", expect: {any: true}", "") if at == "step" else ("", ", expect: {any: true}")
    (case,) = load(
        scenario(
            tmp_path,
            f'{{do: connect, at: client, to: "server:1", as: c, background: true, id: x{own}}}\n'
            f"  - {{do: await, id: x{awaited}}}",
        )
    )
    base = Story(tmp_path).evidence()
    found = replace(base, records=replace(base.records, calls=(call("x", "connect", 0, 40, error=REFUSED),)))
    assert judge_case(case.scenario, found) == ()


def test_a_result_of_an_await_is_a_range(tmp_path: Path) -> None:
    (case,) = load(
        scenario(
            tmp_path,
            "{do: bind, at: client, port: 1, kind: udp, as: c}\n"
            '  - {do: sendto, at: client, on: c, to: "server:1", data: hello, background: true, id: x}\n'
            "  - {do: await, id: x, expect: {result: {min: 1, max: 4}}}",
        )
    )
    step = case.scenario.steps[2]
    assert isinstance(step, Await)
    assert step.expect is not None
    assert getattr(step.expect, "result", None) == Range(1, 4)
    base = Story(tmp_path).evidence()
    for result, verdict in ((4, Verdict.PASS), (5, Verdict.FAIL)):
        calls = (call("steps[0]", "bind", 0, 0), call("x", "sendto", 1, 0, result=result))
        found = replace(base, records=replace(base.records, calls=calls))
        assert [one.verdict for one in judge_case(case.scenario, found)] == [verdict]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("[ping, -c, '1', other]", True),
        ("[python3, -c, \"connect(('other', 80))\"]", True),
        ("[curl, 'http://other:80/']", True),
        ("[curl, 'http://another.other/']", False),
        ("[curl, 'http://server/']", False),
    ],
)
def test_a_program_that_names_a_host_which_was_not_started(command: str, told: bool, tmp_path: Path) -> None:
    text = (
        f"{{do: run, at: client, command: {command}, id: x, expect: {{exit: 0}}}}\n"
        "  - {do: socket, at: server}\nhosts: {other: {}}"
    )
    (case,) = load(scenario(tmp_path, text))
    base = Story(tmp_path).evidence()
    run = RunRecord("x", "client", ("x",), 6, "", "", 0, MS, T0, T0 + MS)
    found = replace(base, records=replace(base.records, runs=(run,)))
    reason = judge_case(case.scenario, found)[0].reason
    assert ("other was not started, and does not resolve: a host is started where" in reason) == told
