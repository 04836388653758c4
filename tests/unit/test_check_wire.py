"""The checks of what the network did to packets, on captures made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.evidence.model import DropCount, WireEvent, WireFacts
from lab.evidence.store import Evidence
from lab.link import Impairment
from lab.units import Duration
from lab.verdict import Verdict
from tests.unit.check_helpers import MS, T0, Connection, Story, say

PAIR = {"from_": "client", "to": "server:8001"}


@pytest.fixture
def rough(tmp_path: Path) -> Evidence:
    """Opened; 5 segments to the server, the second lost and sent again, the third twice at the server."""
    story = Story(tmp_path, until=3000)
    one = Connection(story)
    at = one.handshake()
    first = one.seq["client"]
    one.send(at, "client", "A", b"a" * 100)
    one.send(at + 1, "client", "A", b"b" * 100, lost=True)
    one.send(at + 2, "client", "A", b"c" * 100, copies=1)
    one.send(at + 3, "client", "A", b"d" * 100)
    one.send(at + 12, "server", "A", ack=first + 100)
    one.send(at + 300, "client", "A", b"b" * 100, seq=first + 100, again=True)
    one.seq["client"] = first + 400
    one.send(at + 311, "server", "A")
    one.send(at + 400, "server", "PA", b"OK")
    one.send(at + 411, "client", "A")
    return story.evidence()


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({**PAIR, "match": "syn"}, 1),
        ({"from_": "server:8001", "to": "client", "match": "syn-ack"}, 1),
        ({**PAIR, "match": "data"}, 5),
        ({**PAIR, "match": "data", "at": "receiver"}, 5),
        ({**PAIR, "match": "data", "at": "lost"}, 1),
        ({"from_": "server", "to": "client", "match": "data", "at": "lost"}, 0),
        ({**PAIR, "match": "ack"}, 2),
        ({**PAIR, "match": ["ack", "psh"]}, 0),
        ({"from_": "server", "match": ["psh", "ack"]}, 1),
        ({"match": "fin"}, 0),
        ({"from_": "client", "match": "any"}, 9),
        ({"to": "client:40000"}, 4),
    ],
)
def test_packets_are_counted_exactly(rough: Evidence, keys: dict[str, Any], count: int) -> None:
    exact = say(rough, check="packets", count=count, **keys)
    assert exact.verdict is Verdict.PASS, exact
    below = (count - 1, {"max": count - 1}) if count else ()
    for wrong in (count + 1, {"min": count + 1}, *below):
        finding = say(rough, check="packets", count=wrong, **keys)
        assert finding.verdict is Verdict.FAIL, finding
        assert finding.reason
    wide = say(rough, check="packets", count={"min": count, "max": count + 2}, **keys)
    assert wide.verdict is Verdict.PASS


def test_packets_of_udp_and_icmp(tmp_path: Path) -> None:
    story = Story(tmp_path, until=500)
    story.udp(0, "client", "server", b"one")
    story.udp(5, "client", "server", b"two", lost=True)
    story.put(20, "server", "client", 1, b"\x03\x03" + bytes(6) + b"\x45" + bytes(27), None, False, 0)
    evidence = story.evidence()
    udp = {"check": "packets", "from_": "client", "to": "server:9000"}
    assert say(evidence, **udp, match="data", count=2).verdict is Verdict.PASS
    assert say(evidence, **udp, match="any", at="lost", count=1).verdict is Verdict.PASS
    assert say(evidence, **udp, match="syn", count=0).verdict is Verdict.PASS
    back = {"check": "packets", "from_": "server", "to": "client"}
    assert say(evidence, **back, match="any", count=1).verdict is Verdict.PASS
    assert say(evidence, **back, match="data", count=1).verdict is Verdict.FAIL


def test_counts_with_closed_eyes_are_no_counts(tmp_path: Path) -> None:
    story = Story(tmp_path, captured=("client",))
    Connection(story).handshake()
    evidence = story.evidence()
    received = say(evidence, check="packets", **PAIR, match="rst", at="receiver", count=0)
    assert received.verdict is Verdict.FAIL
    assert "no capture of server" in received.reason
    assert say(evidence, check="packets", **PAIR, match="rst", count=0).verdict is Verdict.PASS
    blind = Evidence(evidence.records, {})
    assert say(blind, check="packets", **PAIR, count=0).verdict is Verdict.FAIL
    nothing = say(evidence, check="packets", from_="client:1", to="server:2", count={"max": 3})
    assert nothing.verdict is Verdict.PASS  # other packets went that way, so the captures were awake


def test_retransmissions(rough: Evidence) -> None:
    check = {"check": "retransmissions", **PAIR}
    finding = say(rough, **check, count=1)
    assert finding.verdict is Verdict.PASS, finding
    assert finding.packets
    for wrong in (0, 2, {"min": 2}, {"max": 0}):
        assert say(rough, **check, count=wrong).verdict is Verdict.FAIL
    back = {"check": "retransmissions", "from_": "server:8001", "to": "client"}
    assert say(rough, **back, count=0).verdict is Verdict.PASS
    assert say(rough, **back, count={"min": 1}).verdict is Verdict.FAIL
    nothing = say(rough, check="retransmissions", from_="client", to="server:80", count=0)
    assert nothing.verdict is Verdict.FAIL
    assert "nothing to judge" in nothing.reason


def test_duplicated(rough: Evidence) -> None:
    check = {"check": "duplicated", **PAIR}
    assert say(rough, **check, count=1).verdict is Verdict.PASS
    for wrong in (0, 2):
        assert say(rough, **check, count=wrong).verdict is Verdict.FAIL
    assert say(rough, check="duplicated", from_="client", to="server:1", count=0).verdict is Verdict.FAIL


def test_reordered(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for number in range(5):
        story.udp(number, "client", "server", bytes([number]), delay=50 if number == 1 else 10)
    evidence = story.evidence()
    check = {"check": "reordered", "from_": "client", "to": "server"}
    assert say(evidence, **check, count=1).verdict is Verdict.PASS
    for wrong in (0, 2, {"min": 2}):
        assert say(evidence, **check, count=wrong).verdict is Verdict.FAIL


def test_one_way_is_the_median(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for number, delay in enumerate([9.9, 10.0, 80.0, 10.2, 10.1]):
        story.udp(100 * number, "client", "server", bytes([number]), delay=delay)
    evidence = story.evidence()
    check = {"check": "one_way", "from_": "client", "to": "server"}
    finding = say(evidence, **check, delay="10ms")
    assert finding.verdict is Verdict.PASS, finding.reason
    assert finding.actual == "median 10.1 ms of 5 packets, 9.9 ms to 80 ms"
    for right in ("0.5rtt", {"min": "10ms", "max": "11ms"}):
        assert say(evidence, **check, delay=right).verdict is Verdict.PASS
    for wrong in ("20ms", "5ms", "1rtt", {"max": "10ms"}, {"min": "11ms"}):
        finding = say(evidence, **check, delay=wrong)
        assert finding.verdict is Verdict.FAIL
        assert "configured then: 10ms" in finding.reason
    assert say(evidence, check="one_way", from_="server", to="client", delay="10ms").verdict is Verdict.FAIL


def changed_to(at_ms: int, delay: str) -> tuple[WireEvent, ...]:
    """Both ways of the client's link have another delay from then on."""
    impairment = Impairment(delay=Duration.parse(delay))
    return (WireEvent(T0 + at_ms * MS, "link", "s", host="client", direction="both", impairment=impairment),)


def test_a_round_trip_is_that_of_the_moment(tmp_path: Path) -> None:
    """The server's link has 5 ms each way, the client's 5 ms, and 45 ms from the first second on."""
    story = Story(tmp_path, more={"wire_events": changed_to(1000, "45ms")})
    for number in range(3):
        story.udp(2000 + 100 * number, "client", "server", bytes([number]), delay=50)
    evidence = story.evidence()
    check = {"check": "one_way", "from_": "client", "to": "server"}
    assert say(evidence, **check, delay="0.5rtt").verdict is Verdict.PASS
    finding = say(evidence, **check, delay="1rtt")
    assert "(1rtt is 100ms here)" in finding.expected
    assert "configured then: 50ms" in finding.reason
    story = Story(tmp_path, more={"wire_events": changed_to(1000, "45ms")})
    one = Connection(story)
    for at in (0, 20, 1020, 1120):
        one.send(at, "client", "S", lost=True, again=True)
    schedule = {"check": "schedule", "from_": "client", "to": "server:8001", "match": "syn"}
    finding = say(story.evidence(), **schedule, gaps=["1rtt", "50rtt", "1rtt"])
    assert finding.verdict is Verdict.PASS, finding
    assert finding.expected == "gaps 1rtt, 50rtt, 1rtt (1rtt is 20ms, then 100ms here)"


def lossy(folder: Path, sent: int, lost: int, **more: Any) -> Evidence:
    story = Story(folder, until=sent + 1000.0, more=more)
    for number in range(sent):
        story.udp(number, "client", "server", number.to_bytes(4, "big"), lost=number % (sent // lost) == 0
                  if lost else False)  # fmt: skip
    return story.evidence()


@pytest.mark.parametrize(
    ("sent", "lost", "rate", "verdict", "reason"),
    [
        (400, 20, "5%", Verdict.PASS, ""),
        (400, 40, "10%", Verdict.PASS, ""),
        (400, 0, "5%", Verdict.FAIL, "fewer than chance allows"),
        (400, 80, "5%", Verdict.FAIL, "more than chance allows"),
        (400, 20, "20%", Verdict.FAIL, "fewer than chance allows"),
        (400, 20, "1%", Verdict.FAIL, "more than chance allows"),
        (100, 5, "5%", Verdict.FAIL, "too few packets: with 100 no loss at all could not be told from 5%"),
        (100, 0, "0%", Verdict.PASS, ""),
        (100, 1, "0%", Verdict.FAIL, "more than chance allows"),
    ],
)
def test_loss(tmp_path: Path, sent: int, lost: int, rate: str, verdict: Verdict, reason: str) -> None:
    finding = say(lossy(tmp_path, sent, lost), check="loss", from_="client", to="server", rate=rate)
    assert finding.verdict is verdict, finding
    assert reason in finding.reason
    assert finding.tolerance
    assert finding.margin


def test_loss_of_nothing_is_no_loss_of_zero(tmp_path: Path) -> None:
    evidence = lossy(tmp_path, 100, 0)
    finding = say(evidence, check="loss", from_="server", to="client", rate="0%")
    assert finding.verdict is Verdict.FAIL
    assert "nothing to judge" in finding.reason


def test_what_a_drop_rule_took_is_not_chance(tmp_path: Path) -> None:
    rule = WireEvent(
        T0 - 1, "drop", "steps[0]", rule="drop-1", source="client", target="server", match="any", count=3
    )
    wire = WireFacts("kernel", "", "6.18", "198.18.0.2", "", drops=(DropCount("drop-1", 3),))
    story = Story(tmp_path, until=1000, more={"wire_events": (rule,), "wire": wire})
    for number in range(50):
        story.udp(number, "client", "server", bytes([number]), lost=number < 3)
    finding = say(story.evidence(), check="loss", from_="client", to="server", rate="0%")
    assert finding.verdict is Verdict.PASS, finding
    assert "0 of 47 lost" in finding.actual
    assert "3 more taken by drop" in finding.actual
