"""`schedule` on captures made by hand: listed gaps, the kernel's SYN timers, back-off of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.evidence.store import Evidence
from lab.verdict import Finding, Verdict
from tests.unit.check_helpers import Connection, Story, call, say

LINEAR = {"net.ipv4.tcp_syn_retries": "2", "net.ipv4.tcp_syn_linear_timeouts": "4"}
OLD = {"net.ipv4.tcp_syn_retries": "2", "net.ipv4.tcp_syn_linear_timeouts": "0"}


def syns(
    folder: Path, times: list[float], sysctls: dict[str, str], *, until: float = 10_000, calls: Any = ()
) -> Evidence:
    story = Story(folder, sysctls=sysctls, until=until, more={"calls": tuple(calls)})
    one = Connection(story)
    for at in times:
        one.send(at, "client", "S", lost=True, again=True)
    return story.evidence()


def schedule(evidence: Evidence, match: str = "syn", gaps: Any = "kernel", **more: Any) -> Finding:
    return say(evidence, check="schedule", from_="client", to="server:8001", match=match, gaps=gaps, **more)


def test_listed_gaps(tmp_path: Path) -> None:
    evidence = syns(tmp_path, [0, 1020, 3060], OLD)
    finding = schedule(evidence, gaps=["1s", "2s"])
    assert finding.verdict is Verdict.PASS, finding
    assert finding.actual == "gaps 1.02 s, 2.04 s"
    for wrong, reason in (
        (["1s"], "2 gaps (3 transmissions), and not 1"),
        (["1s", "2s", "4s"], "2 gaps (3 transmissions), and not 3"),
        (["2s", "2s"], "gap 1 is 1.02 s, shorter"),
        (["1s", "1s"], "gap 2 is 2.04 s, longer"),
        (["500ms", "2s"], "gap 1 is 1.02 s, longer"),
    ):
        finding = schedule(evidence, gaps=wrong)
        assert finding.verdict is Verdict.FAIL
        assert reason in finding.reason


@pytest.mark.parametrize(
    ("sysctls", "times"),
    [
        (LINEAR, [0, 1020, 2040, 3060, 4090, 5120]),
        (OLD, [0, 1020, 3060]),
        ({**OLD, "net.ipv4.tcp_syn_retries": "1"}, [0, 1022]),
    ],
)
def test_the_kernels_schedule(tmp_path: Path, sysctls: dict[str, str], times: list[float]) -> None:
    assert schedule(syns(tmp_path, times, sysctls)).verdict is Verdict.PASS
    fewer = schedule(syns(tmp_path, times[:-1], sysctls))
    assert fewer.verdict is Verdict.FAIL
    assert "and not" in fewer.reason
    more = schedule(syns(tmp_path, [*times, times[-1] + 1500], sysctls))
    assert more.verdict is Verdict.FAIL
    late = schedule(syns(tmp_path, [*times[:-1], times[-1] + 700], sysctls))
    assert late.verdict is Verdict.FAIL
    assert "longer" in late.reason
    early = schedule(syns(tmp_path, [*times[:-1], times[-1] - 200], sysctls))
    assert early.verdict is Verdict.FAIL
    assert "shorter" in early.reason


def test_the_sysctls_decide(tmp_path: Path) -> None:
    assert schedule(syns(tmp_path, [0, 1020, 3060], LINEAR)).verdict is Verdict.FAIL
    assert schedule(syns(tmp_path, [0, 1020, 2040, 3060, 4090, 5120], OLD)).verdict is Verdict.FAIL


def test_a_sockets_own_syn_count_decides_before_the_sysctl(tmp_path: Path) -> None:
    option = call("steps[0]", "setsockopt", at=-5, arguments={"option": "TCP_SYNCNT", "value": 1}, socket="c")
    connect = call("steps[1]", "connect", at=-1, took=3060, error="ETIMEDOUT", socket="c")
    evidence = syns(tmp_path, [0, 1020], OLD, calls=(option, connect))
    assert schedule(evidence).verdict is Verdict.PASS
    without = syns(tmp_path, [0, 1020], OLD, calls=(connect,))
    assert schedule(without).verdict is Verdict.FAIL


@pytest.mark.parametrize("end", ["close", "captures", "error"])
def test_what_ends_the_schedule_early(tmp_path: Path, end: str) -> None:
    """Closed, or cut off, after 2.5 s: SYNs at 0, 1 and 2 s are due, those after it are not."""
    error = "EHOSTUNREACH" if end == "error" else "timeout"
    calls = [call("steps[0]", "connect", at=-1, took=2500, error=error, socket="c")]
    if end == "close":
        calls.append(call("steps[1]", "close", at=2500, socket="c"))
    until = 2500.0 if end == "captures" else 10_000.0
    whole = syns(tmp_path, [0, 1020, 2040], LINEAR, calls=calls, until=until)
    assert schedule(whole).verdict is Verdict.PASS, schedule(whole)
    assert schedule(syns(tmp_path, [0, 1020], LINEAR, calls=calls, until=until)).verdict is Verdict.FAIL
    longer = syns(tmp_path, [0, 1020, 2040, 2300], LINEAR, calls=calls, until=until)
    assert schedule(longer).verdict is Verdict.FAIL


def test_giving_up_too_early_is_seen(tmp_path: Path) -> None:
    connect = call("steps[0]", "connect", at=-1, took=2500, error="ETIMEDOUT", socket="c")
    closed = call("steps[1]", "close", at=2500, socket="c")
    assert schedule(syns(tmp_path, [0, 1020, 2040], LINEAR, calls=(connect, closed))).verdict is Verdict.FAIL


def test_an_answer_ends_the_schedule(tmp_path: Path) -> None:
    story = Story(tmp_path, sysctls=LINEAR, until=9000)
    one = Connection(story)
    one.send(0, "client", "S", lost=True, again=True)
    one.handshake(1020)
    assert schedule(story.evidence()).verdict is Verdict.PASS
    assert schedule(story.evidence(), gaps=["1s"]).verdict is Verdict.PASS
    assert schedule(story.evidence(), gaps=["1s", "1s"]).verdict is Verdict.FAIL


def test_every_connection_must_keep_to_the_kernels_schedule(tmp_path: Path) -> None:
    for second, verdict in ((1020.0, Verdict.PASS), (1700.0, Verdict.FAIL)):
        story = Story(tmp_path, sysctls=OLD, until=9000)
        good, other = Connection(story), Connection(story, sport=40001)
        for at in (0.0, 1020.0, 3060.0):
            good.send(at, "client", "S", lost=True, again=True)
        other.send(0, "client", "S", lost=True, again=True)
        other.handshake(second)
        assert schedule(story.evidence()).verdict is verdict


def test_nothing_to_judge(tmp_path: Path) -> None:
    evidence = Story(tmp_path, until=100).evidence()
    for match in ("syn", "data"):
        finding = schedule(evidence, match, ["1s"])
        assert finding.verdict is Verdict.FAIL
        assert "nothing to judge" in finding.reason


def into_the_void(folder: Path, times: list[float]) -> Evidence:
    """A line that arrives, and one that is sent again and again."""
    story = Story(folder, until=20_000)
    one = Connection(story)
    at = one.data(one.handshake(), "client", b"hello")
    for number, time in enumerate(times):
        one.send(at + 100 + time, "client", "PA", b"lost", lost=True, again=number < len(times) - 1)
    return story.evidence()


def test_back_off_of_data(tmp_path: Path) -> None:
    evidence = into_the_void(tmp_path, [0, 212, 424, 860, 1730])  # probe, RTO, then doubled
    finding = schedule(evidence, "data")
    assert finding.verdict is Verdict.PASS, finding
    assert "after a tail loss probe" in finding.actual
    assert schedule(evidence, "data", ["212ms", "212ms", "430ms", "860ms"]).verdict is Verdict.PASS
    assert schedule(evidence, "data", ["212ms", "430ms", "860ms"]).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([0, 212, 424, 636, 848], "shorter than back-off allows"),
        ([0, 212, 636, 3000], "longer than back-off allows"),
        ([0, 212], "at least 2 are needed"),
        ([0], "at least 2 are needed"),
    ],
)
def test_what_is_no_back_off(tmp_path: Path, times: list[float], reason: str) -> None:
    finding = schedule(into_the_void(tmp_path, times), "data")
    assert finding.verdict is Verdict.FAIL
    assert reason in finding.reason


def test_datagrams_sent_at_intervals(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for at in (0, 100, 301):
        story.udp(at, "client", "server", b"tick %d" % at, dport=8001)
    assert schedule(story.evidence(), "data", ["100ms", "200ms"]).verdict is Verdict.PASS
    assert schedule(story.evidence(), "data", ["100ms", "100ms"]).verdict is Verdict.FAIL
