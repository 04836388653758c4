"""Which connections, when, and in which order with packets: after, before, when, socket, nth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.evidence.model import CounterRecord, Endpoint
from lab.evidence.store import Evidence
from lab.verdict import Finding, Verdict
from tests.unit.check_helpers import ADDRESSES, MS, T0, Connection, Story, call, sample, say

C, S = ADDRESSES["client"], ADDRESSES["server"]
ENDS = {"from_": "client", "to": "server:8001"}
NUMBERS: dict[str, Any] = {"local": Endpoint(C, 40000), "remote": Endpoint(S, 8001)}


@pytest.fixture
def again(tmp_path: Path) -> Evidence:
    """A connection that its client forgot; the next of the same four numbers, the answer to whose SYN is for
    the first, a reset, and the SYN again."""
    story = Story(tmp_path, until=5000)
    first = Connection(story)
    first.handshake()
    second = Connection(story)
    second.seq["client"] = 700_000
    second.seq["server"] = 5_000
    second.send(500, "client", "S", again=True)
    first.send(510, "server", "A")
    story.tcp(520, "client", "server", "R", seq=first.seq["client"])
    second.handshake(530)
    second.data(600, "client", b"hello")
    second.close(700, "client")
    story.more["calls"] = (
        call("one", "connect", at=-1, took=22, socket="c", **NUMBERS),
        call("two", "connect", at=499, took=52, socket="c2", **NUMBERS),
        call("said", "sendall", at=599, took=0.5, socket="c2", **NUMBERS),
        call("taken", "accept", host="server", at=540, took=30, socket="s2", peer=Endpoint(C, 40000),
             local=Endpoint(S, 8001)),
        call("closed", "close", at=699, took=0.5, socket="c2"),
    )  # fmt: skip
    return story.evidence()


def good(finding: Finding) -> bool:
    return finding.verdict is Verdict.PASS


def test_a_reset_belongs_to_the_connection_whose_numbers_it_has(again: Evidence) -> None:
    first, second = (flow for flow in again.trace.flows if flow.protocol == "tcp")
    assert (first.previous, second.previous) == (None, first.number)
    assert [len(flow.close.rst) for flow in (first, second)] == [1, 0]
    assert (first.close.how, second.close.how) == ("rst", "fin")
    assert [len(flow.handshake.syn) for flow in (first, second)] == [1, 2]
    assert say(again, check="close", how="rst", nth=1, **ENDS).verdict is Verdict.PASS
    assert say(again, check="close", how="fin", nth=2, first="client", **ENDS).verdict is Verdict.PASS
    assert say(again, check="close", how="rst", nth=2, **ENDS).verdict is Verdict.FAIL


def test_the_syn_goes_again_at_once_where_an_earlier_connection_answers(again: Evidence) -> None:
    assert good(say(again, check="schedule", match="syn", gaps="kernel", nth=2, **ENDS))
    assert good(say(again, check="schedule", match="syn", gaps=["30ms"], nth=2, **ENDS))


@pytest.mark.parametrize("challenged", [True, False])
def test_without_such_an_answer_it_may_not(tmp_path: Path, challenged: bool) -> None:
    story = Story(tmp_path, until=5000)
    first = Connection(story)
    first.handshake()
    second = Connection(story)
    second.seq["client"] = 700_000
    second.send(500, "client", "S", again=True)
    if challenged:
        first.send(510, "server", "A")
    second.handshake(530)
    finding = say(story.evidence(), check="schedule", match="syn", gaps="kernel", nth=2, **ENDS)
    assert good(finding) == challenged, finding


def test_every_one_must_hold_and_the_failure_counts_them(again: Evidence) -> None:
    finding = say(again, check="close", how="fin", **ENDS)
    assert finding.verdict is Verdict.FAIL
    assert finding.reason.startswith("1 of 2 connections hold; the first, client:40000 → server:8001: ")
    assert good(say(again, check="close", how="fin", count=1, **ENDS))
    finding = say(again, check="close", how="fin", count=2, **ENDS)
    assert "connections that hold: 1, and not 2; client:40000" in finding.reason


@pytest.mark.parametrize(
    ("keys", "ok", "reason"),
    [
        ({"check": "handshake", "socket": "c", "syn": 1}, True, ""),
        ({"check": "handshake", "socket": "c2", "syn": 2}, True, ""),
        ({"check": "handshake", "socket": "c2", "syn": 1}, False, "sent 2 SYNs"),
        ({"check": "handshake", "socket": "x"}, False, "none of the 2 connections from client"),
        ({"check": "handshake", "nth": 3}, False, "there is no third connection from client to server:8001"),
        ({"check": "handshake", "socket": "c", "nth": 2}, False, "no second connection of socket c"),
        ({"check": "handshake", "after": "one", "syn": 2}, True, ""),
        ({"check": "handshake", "before": "two", "syn": 1}, True, ""),
        ({"check": "handshake", "after": "closed"}, False, "none of 2 connections was opened after closed"),
        ({"check": "handshake", "after": "closed", "count": 0}, True, ""),
        ({"check": "handshake", "after": "never"}, False, "step never has no record"),
        ({"check": "close", "how": "fin", "after": "said"}, True, ""),
        ({"check": "close", "how": "rst", "before": "said"}, True, ""),
        ({"check": "close", "how": "fin", "before": "said", "nth": 2, "count": 0}, True, ""),
        ({"check": "packets", "socket": "c", "match": "rst", "count": 1}, True, ""),
        ({"check": "packets", "socket": "c2", "match": "rst", "count": 0}, True, ""),
        ({"check": "packets", "nth": 2, "match": "syn", "count": 2}, True, ""),
        ({"check": "packets", "match": "data", "after": "said", "count": 1}, True, ""),
        ({"check": "packets", "match": "data", "before": "said", "count": 0}, True, ""),
        ({"check": "packets", "match": "fin", "after": "said", "before": "closed", "count": 0}, True, ""),
        ({"check": "packets", "match": "fin", "after": "closed", "count": 1}, True, ""),
        ({"check": "retransmissions", "nth": 1, "count": 0}, True, ""),
        ({"check": "retransmissions", "nth": 2, "count": 1}, True, ""),
        ({"check": "retransmissions", "after": "said", "count": 0}, True, ""),
        ({"check": "schedule", "match": "fin", "gaps": [], "nth": 2}, True, ""),
        ({"check": "schedule", "match": "fin", "gaps": [], "nth": 1}, False, "holds no FIN"),
        ({"check": "one_way", "delay": "10ms", "after": "said"}, True, ""),
        ({"check": "reordered", "count": 0, "after": "closed", "before": "closed"}, True, ""),
    ],
)
def test_which_and_when(again: Evidence, keys: dict[str, Any], ok: bool, reason: str) -> None:
    finding = say(again, **keys, **ENDS)
    assert good(finding) == ok, finding
    assert reason.replace("holds no FIN", "hold no FIN") in finding.reason


def test_an_accepted_socket_is_known_by_its_peer(again: Evidence) -> None:
    back = {"from_": "server:8001", "to": "client"}
    assert good(say(again, check="packets", socket="s2", match="syn-ack", count=1, **back))
    assert good(say(again, check="schedule", match="syn-ack", gaps=[], socket="s2", **back))


def test_an_order_of_steps_and_packets(again: Evidence) -> None:
    fin = {"from": "client", "to": "server", "match": "fin"}
    syn = {"from": "client", "match": "syn", "nth": 3}
    came = {"match": "data", "at": "receiver"}
    assert good(say(again, check="order", of=["one", syn, "two", came, fin]))
    finding = say(again, check="order", of=[fin, "said"])
    assert "said ended 100 ms before fin packet" in finding.reason
    assert finding.packets
    finding = say(again, check="order", of=["one", {**syn, "nth": 4}])
    assert "only 3 such packets in the captures" in finding.reason


@pytest.fixture
def crossed(tmp_path: Path) -> Evidence:
    """Both ends open; the kernel of neither sends an ACK after the SYN-ACKs."""
    story = Story(tmp_path, until=1000)
    story.tcp(0, "client", "server", "S", seq=100)
    story.tcp(4, "server", "client", "S", sport=8001, dport=40000, seq=900)
    story.tcp(10, "server", "client", "SA", sport=8001, dport=40000, seq=900, ack=101)
    story.tcp(14, "client", "server", "SA", seq=100, ack=901)
    return story.evidence()


def test_what_both_opened_is_one_and_is_found_from_either_side(crossed: Evidence) -> None:
    (flow,) = (flow for flow in crossed.trace.flows if flow.protocol == "tcp")
    assert flow.simultaneous
    back = {"from_": "server:8001", "to": "client:40000"}
    for ends in (ENDS, back):
        finding = say(crossed, check="handshake", syn=1, **ends)
        assert good(finding), finding
        assert "both sides opened" in finding.actual
        assert good(say(crossed, check="packets", match="syn", count=1, **ends))
        assert good(say(crossed, check="retransmissions", count=0, **ends))
        assert good(say(crossed, check="handshake", nth=1, **ends))
    assert good(say(crossed, check="handshake", elapsed="20ms", **ENDS))
    assert not good(say(crossed, check="handshake", syn=2, **ENDS))


def test_a_second_crossing_syn_ack_is_a_retransmission(tmp_path: Path) -> None:
    story = Story(tmp_path, until=1000)
    story.tcp(0, "client", "server", "S", seq=100)
    story.tcp(4, "server", "client", "S", sport=8001, dport=40000, seq=900)
    for at in (10, 300):
        story.tcp(at, "server", "client", "SA", sport=8001, dport=40000, seq=900, ack=101)
    back = {"from_": "server", "to": "client"}
    assert good(say(story.evidence(), check="retransmissions", count=1, **back))


@pytest.mark.parametrize("cookies", [0, 1])
def test_a_syn_cookie_is_no_socket(tmp_path: Path, cookies: int) -> None:
    story = Story(tmp_path, until=1000)
    Connection(story).handshake()
    name = "TcpExtSyncookiesSent"
    story.more["counters"] = {"server": CounterRecord("server", {name: 3}, {name: 3 + cookies})}
    keys = {"check": "state", "at": "server", "state": "SYN_RECV", "when": "ever"}
    assert good(say(story.evidence(), **keys, count=1 - cookies))
    story.more["states"] = (sample("server", "NEW_SYN_RECV", at=15, local=8001, remote=40000),)
    assert good(say(story.evidence(), **keys, count=1))


def test_states_between_steps_and_at_one(tmp_path: Path) -> None:
    story = Story(tmp_path, until=1000)
    Connection(story).handshake()
    changes = (("SYN_SENT", 1), ("ESTABLISHED", 21), ("FIN_WAIT1", 301), ("FIN_WAIT2", 320))
    seen = [sample("client", state, at=at) for state, at in changes]
    story.more["states"] = (*seen[:2], replace(seen[1], wall_ns=T0 + 202 * MS, step="said"), *seen[2:])
    story.more["calls"] = (
        call("open", "connect", at=0, took=20, **NUMBERS),
        call("said", "sendall", at=200, took=1, **NUMBERS),
        call("closed", "close", at=300, took=0.5, **NUMBERS),
    )
    evidence = story.evidence()

    def state(name: str, count: int, **keys: Any) -> bool:
        return good(say(evidence, check="state", at="client", state=name, count=count, **keys))

    assert state("ESTABLISHED", 1, when="said")
    assert state("FIN_WAIT1", 0, when="said")
    assert state("ESTABLISHED", 1, when="closed")  # nobody read then: as it was seen last
    assert state("SYN_SENT", 0, after="open")
    assert state("SYN_SENT", 1, before="said")
    assert state("FIN_WAIT1", 0, before="closed")
    assert state("FIN_WAIT1", 1, after="closed")
    assert state("ESTABLISHED", 0, after="closed")
    assert state("ESTABLISHED", 1, after="open", before="closed")
    assert not state("ESTABLISHED", 0, when="said")
    assert not good(say(evidence, check="state", at="client", state="CLOSE", when="missing"))
