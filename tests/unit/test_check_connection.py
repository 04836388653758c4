"""`handshake` and `close` on captures made by hand, each as it should be and falsified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.evidence.store import Evidence
from lab.verdict import Verdict
from tests.unit.check_helpers import Connection, Story, say

PAIR = {"from_": "client", "to": "server:8001"}


def handshake(evidence: Evidence, **more: Any) -> Any:
    return say(evidence, check="handshake", **{**PAIR, **more})


def close(evidence: Evidence, **more: Any) -> Any:
    return say(evidence, check="close", **{**PAIR, **more})


@pytest.fixture
def whole(tmp_path: Path) -> Evidence:
    """A connection of 20 ms round trip: opened, a line each way, closed by the client in four segments."""
    story = Story(tmp_path)
    one = Connection(story)
    at = one.handshake()
    at = one.data(at, "client", b"hello")
    at = one.data(at, "server", b"OK")
    one.close(at, "client")
    return story.evidence()


def test_handshake_passes_and_points_at_its_packets(whole: Evidence) -> None:
    finding = handshake(whole, syn=1, elapsed="1rtt")
    assert finding.verdict is Verdict.PASS, finding.reason
    assert finding.actual == "1 SYN, 1 SYN-ACK, ACK; 20 ms at client, 30 ms at server"
    assert len(finding.packets) == 6


@pytest.mark.parametrize("elapsed", ["1rtt", "20ms", "1.5rtt", {"min": "19ms", "max": "21ms"}])
def test_handshake_time_holds_for_either_end(whole: Evidence, elapsed: Any) -> None:
    assert handshake(whole, elapsed=elapsed).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"syn": 2}, "client sent 1 SYN, and not 2"),
        ({"elapsed": "2rtt"}, "the handshake (at client) took 20 ms: 19 ms less than the 39 ms allowed"),
        ({"elapsed": "0.5rtt"}, "took 20 ms: 6 ms more than the 14 ms allowed"),
        ({"elapsed": {"max": "19ms"}}, "1 ms more than the 19 ms allowed"),
        ({"to": "server:80"}, "go to port 8001"),
        ({"from_": "server", "to": "client"}, "are `from` and `to` the right way round?"),
    ],
)
def test_falsified_handshakes_fail(whole: Evidence, keys: dict[str, Any], reason: str) -> None:
    finding = handshake(whole, **keys)
    assert finding.verdict is Verdict.FAIL
    assert reason in finding.reason


def test_handshake_with_a_lost_syn(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    one.send(0, "client", "S", lost=True, again=True)
    one.handshake(1000)
    evidence = story.evidence()
    assert handshake(evidence, syn=2, elapsed={"min": "1s", "max": "1.1s"}).verdict is Verdict.PASS
    assert handshake(evidence, syn=1).verdict is Verdict.FAIL
    assert handshake(evidence, elapsed="1rtt").verdict is Verdict.FAIL


def test_a_later_segment_stands_in_for_a_lost_third_packet(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    one.send(0, "client", "S")
    one.send(10, "server", "SA")
    one.send(20, "client", "A", lost=True)
    evidence = story.evidence()
    finding = handshake(evidence)
    assert finding.verdict is Verdict.FAIL
    assert "no third packet" in finding.reason
    one.send(50, "client", "PA", b"hello")
    assert handshake(story.evidence()).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("flags", "lost", "reason"),
    [
        ("", False, "server never answered the SYN"),
        ("RA", False, "the connection was refused"),
        ("SA", True, "no SYN-ACK of server reached client"),
        ("SA", False, "no ACK of client reached server"),
    ],
)
def test_handshakes_that_end_on_the_way(tmp_path: Path, flags: str, lost: bool, reason: str) -> None:
    story = Story(tmp_path, until=5000)
    one = Connection(story)
    one.send(0, "client", "S")
    if flags:
        one.send(10, "server", flags, lost=lost)
    finding = handshake(story.evidence())
    assert finding.verdict is Verdict.FAIL
    assert reason in finding.reason


def test_a_syn_that_never_arrives(tmp_path: Path) -> None:
    story = Story(tmp_path, until=5000)
    Connection(story).send(0, "client", "S", lost=True)
    assert "no SYN reached server" in handshake(story.evidence()).reason


def test_every_connection_must_hold(tmp_path: Path) -> None:
    story = Story(tmp_path, until=5000)
    Connection(story, sport=40000).handshake()
    Connection(story, sport=40001).send(100, "client", "S", lost=True)
    finding = handshake(story.evidence())
    assert finding.verdict is Verdict.FAIL
    assert "client:40001" in finding.reason
    assert "1 of 2 connections hold" in finding.actual
    assert handshake(story.evidence(), from_="client:40000").verdict is Verdict.PASS


def test_nothing_to_judge_is_a_failure(tmp_path: Path) -> None:
    evidence = Story(tmp_path).evidence()
    assert "no TCP connection" in handshake(evidence).reason
    assert "no TCP connection" in close(evidence, how="fin").reason
    blind = Evidence(evidence.records, {})
    assert "no captures" in handshake(blind).reason


# --- close ------------------------------------------------------------------------------------------------


def test_close_in_four_segments(whole: Evidence) -> None:
    finding = close(whole, first="client", how="fin", segments=4)
    assert finding.verdict is Verdict.PASS, finding.reason
    assert finding.actual == "closed by FIN, client first, 4 segments"
    assert len(finding.packets) >= 8


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"how": "rst"}, "neither side sent a reset: it was closed by FIN on both sides"),
        ({"how": "fin", "first": "server"}, "client closed first, and not server"),
        ({"how": "fin", "segments": 3}, "the close took 4 segments, and not 3"),
    ],
)
def test_falsified_closes_fail(whole: Evidence, keys: dict[str, Any], reason: str) -> None:
    finding = close(whole, **keys)
    assert finding.verdict is Verdict.FAIL
    assert reason in finding.reason


def test_close_in_three_segments(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    one.close(one.handshake(), "server", segments=3)
    evidence = story.evidence()
    assert close(evidence, first="server", how="fin", segments=3).verdict is Verdict.PASS
    assert close(evidence, first="server", how="fin", segments=4).verdict is Verdict.FAIL


def test_reset(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    at = one.data(one.handshake(), "client", b"unread")
    one.send(at, "server", "RA")
    evidence = story.evidence()
    assert close(evidence, first="server", how="rst").verdict is Verdict.PASS
    assert close(evidence, first="client", how="rst").verdict is Verdict.FAIL
    assert "server reset the connection" in close(evidence, how="fin").reason


def test_a_reset_after_the_close_does_not_undo_it(tmp_path: Path) -> None:
    story = Story(tmp_path)
    one = Connection(story)
    at = one.close(one.handshake(), "client")
    one.send(at + 100, "server", "R")
    assert close(story.evidence(), how="fin").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("fins", "reason"),
    [
        ((), "neither side sent a FIN"),
        (("client",), "server never sent a FIN"),
    ],
)
def test_connections_that_stay_open(tmp_path: Path, fins: tuple[str, ...], reason: str) -> None:
    story = Story(tmp_path, until=5000)
    one = Connection(story)
    at = one.data(one.handshake(), "client", b"hello")
    for who in fins:
        one.send(at, who, "FA")
        one.send(at + 10, "server", "A")
    finding = close(story.evidence(), how="fin")
    assert finding.verdict is Verdict.FAIL
    assert reason in finding.reason


def test_a_fin_that_nobody_acknowledges(tmp_path: Path) -> None:
    story = Story(tmp_path, until=5000)
    one = Connection(story)
    at = one.handshake()
    one.send(at, "client", "FA")
    one.send(at + 10, "server", "FA", lost=True)
    assert "the FIN of server was never acknowledged" in close(story.evidence(), how="fin").reason


def test_what_was_never_established_is_not_judged_beside_what_was(tmp_path: Path) -> None:
    story = Story(tmp_path, until=5000)
    one = Connection(story)
    one.close(one.handshake(), "client")
    Connection(story, sport=40001).send(100, "client", "S", lost=True)
    assert close(story.evidence(), how="fin").verdict is Verdict.PASS
