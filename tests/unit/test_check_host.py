"""States (sampled and proven), counters, order of calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.checks.states import proven_states
from lab.evidence.model import CounterRecord, StepRecord
from lab.evidence.store import Evidence
from lab.scenario.element import NOWHERE
from lab.verdict import Finding, Verdict
from tests.unit.check_helpers import T0, Connection, Story, call, program, sample, say

CLOSER = ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"]
OTHER = ["SYN_RECV", "LISTEN", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"]


def proven(story: Story, host: str) -> list[str]:
    (flow,) = [flow for flow in story.evidence().trace.flows if flow.protocol == "tcp"]
    return list(proven_states(flow, host))


def test_states_of_an_orderly_close(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    one.close(one.data(one.handshake(), "client", b"hello"), "client")
    assert proven(story, "client") == CLOSER
    assert proven(story, "server") == OTHER
    assert proven(story, "third") == []


def test_a_close_in_three_segments_skips_fin_wait2(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    one.close(one.handshake(), "server", segments=3)
    assert "FIN_WAIT2" not in proven(story, "server")
    assert proven(story, "server")[-2:] == ["FIN_WAIT1", "TIME_WAIT"]
    assert proven(story, "client")[-2:] == ["CLOSE_WAIT", "LAST_ACK"]


def test_simultaneous_close(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    at = one.handshake()
    server_before, client_before = one.seq["server"], one.seq["client"]
    one.send(at, "client", "FA", ack=server_before)
    one.send(at + 1, "server", "FA", ack=client_before)
    one.send(at + 11, "client", "A")
    one.send(at + 11, "server", "A")
    for host in ("client", "server"):
        states = proven(story, host)
        assert states[-3:] == ["FIN_WAIT1", "CLOSING", "TIME_WAIT"]
        assert "FIN_WAIT2" not in states
        assert "CLOSE_WAIT" not in states


def test_what_packets_leave_open_is_not_claimed(tmp_path: Path) -> None:
    """The client's own data was unacknowledged when the server's FIN came: its FIN may have waited."""
    story = Story(tmp_path)
    one = Connection(story)
    at = one.handshake()
    acknowledged = one.seq["client"]
    one.send(at, "client", "PA", b"late", lost=True)
    one.send(at + 1, "server", "FA", ack=acknowledged)
    one.send(at + 12, "client", "FA")
    states = proven(story, "client")
    assert "CLOSE_WAIT" not in states
    assert "LAST_ACK" not in states


def test_a_reset_and_an_unacknowledged_fin_prove_no_time_wait(tmp_path: Path) -> None:
    story = Story(tmp_path, until=500)
    one = Connection(story)
    at = one.handshake()
    one.send(at, "client", "FA")
    one.send(at + 10, "server", "RA")
    assert proven(story, "client") == ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1"]
    waiting = Story(tmp_path, until=500)
    two = Connection(waiting)
    at = two.handshake()
    two.send(at, "client", "FA")
    two.send(at + 10, "server", "A")
    assert proven(waiting, "client")[-1] == "FIN_WAIT2"


def test_a_full_accept_queue_proves_no_establishment(tmp_path: Path) -> None:
    story = Story(tmp_path, until=500)
    Connection(story).handshake()
    assert proven(story, "server") == ["SYN_RECV", "LISTEN"]
    assert proven(story, "client") == ["SYN_SENT", "ESTABLISHED"]


# --- the check --------------------------------------------------------------------------------------------


def evidence_of(folder: Path, *samples: Any, packets: bool = True) -> Evidence:
    story = Story(folder, more={"states": tuple(samples)})
    if packets:
        one = Connection(story)
        one.close(one.data(one.handshake(), "client", b"hello"), "client")
    return story.evidence()


def state(evidence: Evidence, at: str, name: str, **more: Any) -> Finding:
    return say(evidence, check="state", at=at, state=name, **more)


def test_state_at_the_end(tmp_path: Path) -> None:
    evidence = evidence_of(
        tmp_path,
        sample("client", "ESTABLISHED", at=20),
        sample("client", "TIME_WAIT", at=80),
        sample("client", "TIME_WAIT", at=200, final=True),
        sample("server", "LISTEN", at=0, local=8001, remote=None),
        sample("server", "LISTEN", at=200, local=8001, remote=None, final=True),
    )
    assert state(evidence, "client", "TIME_WAIT", to="server:8001").verdict is Verdict.PASS
    assert state(evidence, "client", "TIME_WAIT", port=8001).verdict is Verdict.PASS
    assert state(evidence, "client", "TIME_WAIT", to="server", count=1).verdict is Verdict.PASS
    assert state(evidence, "server", "LISTEN", port=8001, count=1).verdict is Verdict.PASS
    assert state(evidence, "server", "TIME_WAIT", count=0).verdict is Verdict.PASS
    for finding, reason in (
        (state(evidence, "client", "ESTABLISHED", to="server:8001"), "it is in TIME_WAIT"),
        (state(evidence, "client", "TIME_WAIT", to="server:80"), "no socket"),
        (state(evidence, "client", "TIME_WAIT", port=80), "no socket"),
        (state(evidence, "client", "TIME_WAIT", count=2), "1, and not 2"),
        (state(evidence, "client", "TIME_WAIT", count=0), "1, and not 0"),
        (state(evidence, "server", "TIME_WAIT"), "it is in LISTEN"),
        (state(evidence, "server", "ESTABLISHED", to="client"), "no socket"),
    ):
        assert finding.verdict is Verdict.FAIL, finding
        assert reason in finding.reason


def test_state_ever_by_sample_or_by_proof(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, sample("client", "ESTABLISHED", at=20))
    for name in CLOSER:
        finding = state(evidence, "client", name, to="server:8001", when="ever", count=1)
        assert finding.verdict is Verdict.PASS, finding
    proof = state(evidence, "client", "FIN_WAIT1", when="ever")
    assert "proven by packets" in proof.actual
    assert proof.packets
    for name in OTHER:
        assert state(evidence, "server", name, port=8001, when="ever", count=1).verdict is Verdict.PASS
    for at, name in (("client", "CLOSING"), ("server", "TIME_WAIT"), ("client", "CLOSE_WAIT")):
        assert state(evidence, at, name, when="ever").verdict is Verdict.FAIL
    assert state(evidence, "client", "TIME_WAIT", when="ever", count=0).verdict is Verdict.FAIL
    assert state(evidence, "client", "TIME_WAIT", when="ever", count=2).verdict is Verdict.FAIL
    assert state(evidence, "client", "TIME_WAIT", when="ever", to="server:80").verdict is Verdict.FAIL
    assert state(evidence, "client", "TIME_WAIT", when="end").verdict is Verdict.FAIL


def test_a_socket_that_is_gone_is_closed(tmp_path: Path) -> None:
    evidence = evidence_of(
        tmp_path, sample("server", "LAST_ACK", at=60, local=8001, remote=40000),
        sample("server", "GONE", at=80, local=8001, remote=40000),
        sample("client", "TIME_WAIT", at=200, final=True),
    )  # fmt: skip
    assert state(evidence, "server", "CLOSED", port=8001).verdict is Verdict.PASS
    assert state(evidence, "client", "CLOSED", port=8001).verdict is Verdict.FAIL


# --- counter ----------------------------------------------------------------------------------------------


def counter(folder: Path, name: str, delta: Any, at: str = "server") -> Finding:
    record = CounterRecord(
        "server", {"TcpExtListenOverflows": 3, "TcpExtListenDrops": 3}, {"TcpExtListenOverflows": 5,
        "TcpExtListenDrops": 3}
    )  # fmt: skip
    evidence = Story(folder, more={"counters": {"server": record}}).evidence()
    return say(evidence, check="counter", at=at, name=name, delta=delta)


def test_counter(tmp_path: Path) -> None:
    finding = counter(tmp_path, "TcpExtListenOverflows", 2)
    assert finding.verdict is Verdict.PASS
    assert finding.actual == "TcpExtListenOverflows +2 (3 to 5)"
    assert counter(tmp_path, "TcpExtListenOverflows", {"min": 1}).verdict is Verdict.PASS
    assert counter(tmp_path, "TcpExtListenDrops", 0).verdict is Verdict.PASS
    for delta in (1, 3, 0, {"max": 1}, {"min": 3}):
        assert counter(tmp_path, "TcpExtListenOverflows", delta).verdict is Verdict.FAIL


def test_an_unknown_counter_fails_with_a_suggestion(tmp_path: Path) -> None:
    finding = counter(tmp_path, "TcpExtListenOverflow", 0)
    assert finding.verdict is Verdict.FAIL
    assert "did you mean TcpExtListenOverflows?" in finding.reason
    assert "not read" in counter(tmp_path, "TcpExtListenDrops", 0, at="client").reason


# --- order ------------------------------------------------------------------------------------------------


@pytest.fixture
def ended(tmp_path: Path) -> Evidence:
    step = StepRecord("nap", "sleep", NOWHERE, None, T0, T0 + 90_000_000, 0, 90_000_000)
    calls = (call("a", "recv", at=0, took=10), call("b", "recv", at=5, took=3), call("c", "recv", took=50))
    return Story(
        tmp_path, more={"calls": calls, "runs": (program("p", took=70),), "steps": (step,)}
    ).evidence()


def test_order_of_one_host_is_by_its_monotonic_clock_and_of_two_by_the_wall_clock(tmp_path: Path) -> None:
    hour = 3_600_000_000_000
    first, then = call("first", "recv", at=0, took=10), call("then", "recv", at=20, took=10)
    set_back = replace(then, end_wall_ns=then.end_wall_ns - hour)  # somebody set the clock meanwhile
    elsewhere = replace(then, host="server", end_mono_ns=then.end_mono_ns - hour)  # its machine booted later
    for second in (set_back, elsewhere):
        evidence = Story(tmp_path, more={"calls": (first, second)}).evidence()
        assert say(evidence, check="order", of=["first", "then"]).verdict is Verdict.PASS
        wrong = say(evidence, check="order", of=["then", "first"])
        assert wrong.verdict is Verdict.FAIL
        assert "first ended 20 ms before then" in wrong.reason


def test_order(ended: Evidence) -> None:
    finding = say(ended, check="order", of=["b", "a", "c", "p", "nap"])
    assert finding.verdict is Verdict.PASS, finding
    assert finding.margin == "2 ms"
    for wrong, reason in (
        (["a", "b"], "b ended 2 ms before a"),
        (["b", "c", "a"], "a ended 40 ms before c"),
        (["nap", "p"], "p ended 20 ms before nap"),
        (["a", "missing"], "step missing has no record"),
        (["a", "a"], "one step alone has no order"),
    ):
        finding = say(ended, check="order", of=wrong)
        assert finding.verdict is Verdict.FAIL
        assert reason in finding.reason


def test_order_on_clocks_of_two_machines_is_not_known(tmp_path: Path) -> None:
    calls = (call("first", "recv", at=0, took=10), call("then", "recv", "server", at=20, took=10))
    evidence = Story(tmp_path, more={"calls": calls}).evidence()
    facts = dict(evidence.records.hosts)
    away = replace(facts["server"].attachments[0], clock="n2")
    facts["server"] = replace(facts["server"], attachments=(away,))
    elsewhere = Evidence(replace(evidence.records, hosts=facts), evidence.captures)
    assert say(evidence, check="order", of=["first", "then"]).verdict is Verdict.PASS
    finding = say(elsewhere, check="order", of=["first", "then"])
    assert finding.verdict is Verdict.FAIL
    assert "clocks of their own" in finding.reason
