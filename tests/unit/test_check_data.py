"""`bytes`: by the agents' hashes, by the captures, for datagrams."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from lab.evidence.model import Endpoint
from lab.evidence.store import Evidence
from lab.verdict import Finding, Verdict
from tests.unit.check_helpers import ADDRESSES, Connection, Story, call, program, say, stream

FORTH = {"from_": "client", "to": "server:8001"}
BACK = {"from_": "server:8001", "to": "client"}


def talk(folder: Path, **more: Any) -> Story:
    story = Story(folder, more=more)
    one = Connection(story)
    at = one.data(one.handshake(), "client", b"hello ")
    at = one.data(at, "client", b"world")
    one.data(at, "server", b"OK")
    return story


def same(evidence: Evidence, **keys: Any) -> Finding:
    return say(evidence, check="bytes", **keys)


def test_by_the_sockets(tmp_path: Path) -> None:
    streams = (stream("client", b"hello world", b"OK"), stream("server", b"OK", b"hello world"))
    evidence = talk(tmp_path, streams=streams).evidence()
    finding = same(evidence, **FORTH)
    assert finding.verdict is Verdict.PASS, finding
    assert "11 bytes, sha256 b94d27b9" in finding.actual
    assert same(evidence, **BACK).verdict is Verdict.PASS
    assert same(evidence, from_="client", to="server").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (b"hello", "11 bytes were sent and 5 received: 6 bytes missing at the end"),
        (b"hello world!", "more than was sent"),
        (b"hello wor1d", "they are not the same bytes"),
        (b"", "11 bytes missing"),
    ],
)
def test_what_differs_fails(tmp_path: Path, received: bytes, reason: str) -> None:
    streams = (stream("client", b"hello world", b"OK"), stream("server", b"OK", received))
    evidence = talk(tmp_path, streams=streams).evidence()
    finding = same(evidence, **FORTH)
    assert finding.verdict is Verdict.FAIL
    assert reason in finding.reason
    assert same(evidence, **BACK).verdict is Verdict.PASS


def test_nothing_sent_proves_nothing(tmp_path: Path) -> None:
    story = Story(tmp_path, more={"streams": (stream("client", b"", b""), stream("server", b"", b""))})
    Connection(story).handshake()
    finding = same(story.evidence(), **FORTH)
    assert finding.verdict is Verdict.FAIL
    assert "nothing to compare" in finding.reason
    assert "no TCP connection" in same(Story(tmp_path).evidence(), **FORTH).reason


def test_programs_are_judged_by_the_captures(tmp_path: Path) -> None:
    runs = (program("a"), program("b", host="server"))
    finding = same(talk(tmp_path, runs=runs).evidence(), **FORTH)
    assert finding.verdict is Verdict.PASS, finding
    assert "by the captures put together" in finding.actual
    assert "b94d27b9" in finding.actual
    short = talk(tmp_path, runs=runs)
    short.tcp(200, "client", "server", "PA", seq=41012, ack=900_003, data=b"!!", lost=True)
    finding = same(short.evidence(), **FORTH)
    assert finding.verdict is Verdict.FAIL, finding
    assert "2 bytes missing at the end" in finding.reason


def test_one_end_a_socket_call_the_other_a_program(tmp_path: Path) -> None:
    right = (stream("client", b"hello world", b"OK"),)
    wrong = (stream("client", b"hello world!", b"OK"),)
    runs = (program("b", host="server"),)
    assert same(talk(tmp_path, streams=right, runs=runs).evidence(), **FORTH).verdict is Verdict.PASS
    assert same(talk(tmp_path, streams=wrong, runs=runs).evidence(), **FORTH).verdict is Verdict.FAIL


def test_what_waits_in_a_connection_that_nobody_accepted_was_not_received(tmp_path: Path) -> None:
    calls = (call("l", "listen", "server"),)
    evidence = talk(tmp_path, streams=(stream("client", b"hello world", b"OK"),), calls=calls).evidence()
    finding = same(evidence, **FORTH)
    assert finding.verdict is Verdict.FAIL
    assert "never accepted" in finding.reason


def test_every_stream_must_hold(tmp_path: Path) -> None:
    streams = (
        stream("client", b"hello world", b"OK"), stream("server", b"OK", b"hello world"),
        stream("client", b"more", b"", client=40001), stream("server", b"", b"mor", client=40001),
    )  # fmt: skip
    story = talk(tmp_path, streams=streams)
    two = Connection(story, sport=40001)
    two.data(two.handshake(500), "client", b"more")
    evidence = story.evidence()
    assert "client:40001" in same(evidence, **FORTH).reason
    assert same(evidence, from_="client:40000", to="server").verdict is Verdict.PASS


def test_datagrams(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for at in range(5):
        story.udp(at, "client", "server", b"datagram %d" % at)
    assert same(story.evidence(), from_="client", to="server:9000").verdict is Verdict.PASS
    story.udp(9, "client", "server", b"gone", lost=True)
    finding = same(story.evidence(), from_="client", to="server:9000")
    assert finding.verdict is Verdict.FAIL
    assert "4 bytes missing" in finding.reason
    assert finding.packets


def datagrams(folder: Path, *received: bytes, peer: int = 5000) -> Finding:
    """Two of 500 bytes were sent and arrived; what the server's calls made of them."""
    sent = [b"a" * 500, b"b" * 500]
    client, server = Endpoint(ADDRESSES["client"], 5000), Endpoint("0.0.0.0", 9000)
    far = Endpoint(ADDRESSES["client"], peer)
    calls = [call("bind", "bind", "server", kind="udp", local=server)]
    for at, data in enumerate(sent):
        calls.append(
            call(
                f"send{at}", "sendto", at=at, kind="udp", local=client, length=len(data),
                sha256=sha256(data).hexdigest(), arguments={"to": "server:9000"},
            )
        )  # fmt: skip
    for at, data in enumerate(received, 20):
        calls.append(
            call(f"recv{at}", "recvfrom", "server", at=at, data=data, kind="udp", local=server, peer=far)
        )
    story = Story(folder, more={"calls": tuple(calls)})
    for at, data in enumerate(sent):
        story.udp(at, "client", "server", data)
    return same(story.evidence(), from_="client", to="server:9000")


def test_datagrams_by_what_the_sockets_took_and_gave(tmp_path: Path) -> None:
    whole = (b"a" * 500, b"b" * 500)
    finding = datagrams(tmp_path, *whole)
    assert finding.verdict is Verdict.PASS, finding
    assert "1,000 bytes" in finding.actual
    assert "by the calls, datagram by datagram" in finding.actual


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        ((b"a" * 500, b"b" * 100), "400 bytes missing"),  # truncated
        ((b"a" * 500,), "500 bytes missing"),  # the second one is still in the socket
        ((), "1,000 bytes missing"),
        ((b"a" * 500, b"b" * 500, b"b" * 500), "more than was sent"),
        ((b"b" * 500, b"a" * 500), "not the same bytes"),
        ((b"a" * 500 + b"b", b"b" * 499), "not the same bytes"),  # the boundary is part of it
    ],
)
def test_datagrams_that_the_application_did_not_get(
    tmp_path: Path, received: tuple[bytes, ...], reason: str
) -> None:
    finding = datagrams(tmp_path, *received)
    assert finding.verdict is Verdict.FAIL
    assert reason in finding.reason


def test_a_datagram_from_another_port_is_not_of_this_conversation(tmp_path: Path) -> None:
    assert "1,000 bytes missing" in datagrams(tmp_path, b"a" * 500, b"b" * 500, peer=5001).reason


def test_datagrams_out_of_order_are_not_the_same(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.udp(0, "client", "server", b"one", delay=30)
    story.udp(1, "client", "server", b"two")
    assert "not the same bytes" in same(story.evidence(), from_="client", to="server").reason
