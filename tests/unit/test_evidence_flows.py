"""Flows of stored runs: handshakes, closes, bytes, round trips; what each segment is."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from lab.evidence.store import load_evidence
from lab.evidence.trace import Fate, Flow, Journey, Trace
from lab.stats import median
from tests.unit.evidence_frames import ACK, MS, SYN, Net, records_of, tcp

STORED = Path(__file__).parent.parent / "data" / "captures"


def stored(name: str) -> Trace:
    return load_evidence(STORED / name).trace


def only(trace: Trace) -> Flow:
    (flow,) = (flow for flow in trace.flows if flow.protocol == "tcp")
    assert (flow.client.host, flow.server.host) == ("client", "server")
    return flow


def resent(trace: Trace) -> list[Journey]:
    return [journey for journey in trace.journeys if journey.is_retransmission]


def test_a_plain_session() -> None:
    trace = stored("plain")
    flow = only(trace)
    assert flow.name == f"client:{flow.client.port} → server:8001"
    shake = flow.handshake
    assert (len(shake.syn), len(shake.syn_ack)) == (1, 1)
    close = flow.close
    assert (close.how, close.first, close.segments) == ("fin", "client", 4)
    sent = random.Random(1).randbytes(8000)
    for at in ("client", "server"):
        stream = flow.stream("client", at)
        assert (stream.length, stream.complete) == (8000, True)
        assert stream.sha256 == hashlib.sha256(sent).hexdigest()
    assert flow.stream("server", "client").sha256 == hashlib.sha256(b"done").hexdigest()
    rtt = [int(point.value) for point in flow.rtt("client")]
    assert 15 * MS <= median(sorted(rtt)) < 20 * MS
    total = sum(p.value for p in flow.throughput("client", 100 * MS)) / 10 / 8
    assert round(total) == 8000
    assert not resent(trace)


def test_relative_numbers_and_windows() -> None:
    flow = only(stored("plain"))
    segments = list(flow.segments())
    assert [(s.seq, s.ack) for s in segments[:3]] == [(0, 0), (0, 1), (1, 1)]
    assert segments[0].window == segments[0].journey.packet.window
    assert segments[2].window is not None
    assert segments[2].window > 64_000
    assert [s.from_client for s in segments[:3]] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "how", "first", "segments"),
    [
        ("halfclose", "fin", "client", 3),
        ("plain", "fin", "client", 4),
        ("lostfin", "fin", "client", 3),
        ("reset", "rst", "client", None),
        ("refused", "rst", "server", None),
        ("jitter", "fin", "client", 4),  # a reset answers a straggler after the close
    ],
)
def test_closes(name: str, how: str, first: str, segments: int | None) -> None:
    close = only(stored(name)).close
    assert (close.how, close.first, close.segments) == (how, first, segments)


def test_lost_syn_and_lost_syn_ack() -> None:
    lost = only(stored("lostsyn")).handshake
    assert [j.fate for j in lost.syn] == [Fate.LOST, Fate.RECEIVED]
    assert lost.syn[1].mark == "retransmission"
    assert lost.syn[1].retransmits == lost.syn[0].number
    lost = only(stored("lostsynack")).handshake
    assert lost.syn_ack[0].fate is Fate.LOST
    assert all(j.is_retransmission for j in (*lost.syn[1:], *lost.syn_ack[1:]))


def test_a_new_isn_on_the_same_ports_is_a_new_flow() -> None:
    flows = [flow for flow in stored("reuse").flows if flow.client.port == 40000]
    assert [len(f) for f in flows] == [6, 6]
    assert [f.close.how for f in flows] == ["rst", "rst"]
    assert flows[0].client_isn != flows[1].client_isn


def test_retransmissions_are_joined_to_what_they_repeat() -> None:
    trace = stored("heavyloss")
    for journey in resent(trace):
        assert journey.retransmits is not None
        original = trace.journeys[journey.retransmits]
        assert original.number < journey.number
        assert original.source == journey.source
        assert (
            original.packet.seq <= journey.packet.seq < original.packet.seq + original.packet.payload_len + 1
        )
    stream = only(trace).stream("client", "server")
    assert (stream.length, stream.complete) == (20_000, True)


def test_probes_are_not_retransmissions() -> None:
    keep = stored("keepalive")
    assert [j.mark for j in keep.journeys if j.mark] == ["keep-alive", "keep-alive ack"] * 3
    zero = stored("zerowindow")
    marks = [j.mark for j in zero.journeys]
    assert marks.count("zero window probe") == 2  # Linux probes with an old sequence number and no data
    assert "zero window" in marks


def test_one_byte_sent_again_is_a_retransmission_not_a_keep_alive() -> None:
    trace = stored("onebyte")
    assert [journey.source for journey in resent(trace)].count("client") >= 1
    assert [(journey.source, journey.target) for journey in trace.lost()] == [("client", "server")] * 2


def test_corrupted_segments_are_not_part_of_the_stream() -> None:
    trace = stored("corrupt")
    assert [journey.fate for journey in trace.journeys].count(Fate.CORRUPTED) == 5
    streams = [only(trace).stream("client", at) for at in ("client", "server")]
    assert streams[0].sha256 == streams[1].sha256
    assert streams[1].complete


def test_copies_are_counted_and_do_not_harm() -> None:
    trace = stored("dup")
    copies = {"client": 0, "server": 0}
    for journey in trace.journeys:
        copies[journey.source] += len(journey.copies)
    assert copies == {"client": 2, "server": 3}
    assert only(trace).stream("client", "server").complete
    assert not resent(trace)


def test_datagrams_fragments_and_icmp_errors_have_flows() -> None:
    (flow,) = stored("fragments").flows
    assert (flow.protocol, len(flow)) == ("udp", 18)
    tcp_flow, udp_flow = stored("refused").flows
    assert (tcp_flow.protocol, udp_flow.protocol) == ("tcp", "udp")
    assert [j.packet.protocol for j in udp_flow] == ["udp", "icmp"]


def test_numbers_that_wrap(tmp_path: Path) -> None:
    net = Net()
    isn = 2**32 - 5
    net.packet("client", "server", 0, tcp(1, 2, isn, 0, SYN))
    net.packet("server", "client", 10, tcp(2, 1, 2**32 - 1, isn + 1, SYN | ACK))
    net.packet("client", "server", 20, tcp(1, 2, isn + 1, 0, ACK))
    for i in range(4):
        seq = (isn + 1 + 4 * i) % 2**32
        net.packet(
            "client", "server", 30 + i, tcp(1, 2, seq, 0, ACK, b"%04d" % i), delay_ms=None if i == 1 else 5
        )
    net.packet("client", "server", 300, tcp(1, 2, isn + 5 - 2**32, 0, ACK, b"0001"))
    trace = net.trace(tmp_path, records_of())
    flow = only(trace)
    assert (len(flow.handshake.syn), len(flow.handshake.syn_ack)) == (1, 1)
    assert flow.stream("client", "server").sha256 == hashlib.sha256(b"0000000100020003").hexdigest()
    assert [j.number for j in resent(trace)] == [7]
    assert trace.journeys[7].retransmits == 4
    assert [s.seq for s in flow.segments()] == [0, 0, 1, 1, 5, 9, 13, 5]


def test_a_gap_in_the_stream_is_told(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 100, 0, SYN))
    for i in range(3):
        net.packet(
            "client", "server", 1 + i, tcp(1, 2, 101 + i, 1, ACK, b"x"), delay_ms=None if i == 1 else 5
        )
    flow = only(net.trace(tmp_path))
    whole, broken = flow.stream("client", "client"), flow.stream("client", "server")
    assert (whole.length, whole.complete) == (3, True)
    assert (broken.length, broken.complete) == (1, False)
    with pytest.raises(ValueError, match="not an end"):
        flow.stream("third", "client")
