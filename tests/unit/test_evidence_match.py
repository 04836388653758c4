"""Matching: what became of each packet, told from two or three captures."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.attachment import WIRE
from lab.evidence.trace import Fate
from tests.unit.evidence_frames import (
    ACK,
    HOSTS,
    MACS,
    MS,
    RST,
    SYN,
    T0,
    Net,
    ethernet,
    ipv4,
    ipv6,
    records_of,
    side,
    tcp,
    udp,
)

LOSSY = records_of(up=side(loss="10%", corrupt="5%", duplicate="5%"))


def test_delay_loss_and_order_of_unlike_packets(tmp_path: Path) -> None:
    net = Net()
    for i in range(20):
        delay = None if i in (3, 7) else 5 + i / 100
        net.packet("client", "server", i * 10, tcp(1, 2, 100 * i, 1, ACK, b"x"), ip_id=i, delay_ms=delay)
    trace = net.trace(tmp_path, LOSSY)
    assert [j.number for j in trace.journeys if j.fate is Fate.LOST] == [3, 7]
    assert [j.delay_ns for j in trace.journeys if j.fate is Fate.RECEIVED] == [
        5 * MS + i * MS // 100 for i in range(20) if i not in (3, 7)
    ]
    assert [(j.source, j.target) for j in trace.journeys] == [("client", "server")] * 20
    assert [j.number for j in trace.lost()] == [3, 7]
    assert not any(j.reordered for j in trace.journeys)


def test_equal_ids_and_ttl_do_not_matter_but_everything_else_does(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 5, 6, SYN | ACK), delay_ms=None)
    net.packet("client", "server", 1, tcp(1, 2, 5, 7, SYN | ACK))
    first, second = net.trace(tmp_path, LOSSY).journeys
    assert (first.fate, second.fate) == (Fate.LOST, Fate.RECEIVED)


@pytest.mark.parametrize("lost", [0, 2, 4])
def test_of_twins_that_is_lost_whose_delay_would_fit_worst(tmp_path: Path, lost: int) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 1, 1, SYN))  # tells what is usual
    for i in range(5):
        net.packet("client", "server", 10 + 3 * i, tcp(1, 2, 9, 9, RST), delay_ms=None if i == lost else 5)
    twins = [j for j in net.trace(tmp_path, LOSSY).journeys if j.packet.flags & RST]
    assert [j.fate for j in twins] == [Fate.LOST if i == lost else Fate.RECEIVED for i in range(5)]


def test_twins_without_any_other_packet(tmp_path: Path) -> None:
    net = Net()
    for i in range(10):
        net.packet("client", "server", 3 * i, udp(1, 2, b"same"), protocol=17, delay_ms=None if i == 4 else 5)
    journeys = net.trace(tmp_path, records_of(up=side(delay="5ms", loss="10%"))).journeys
    assert [j.number for j in journeys if j.fate is Fate.LOST] == [4]
    assert {j.delay_ns for j in journeys if j.fate is Fate.RECEIVED} == {5 * MS}


def test_copies_of_unlike_packets_and_of_twins(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 1, 1, ACK, b"a"), copies_ms=[5.1, 6])
    net.packet("client", "server", 20, tcp(1, 2, 9, 9, RST))
    net.packet("client", "server", 40, tcp(1, 2, 9, 9, RST), copies_ms=[5.5])
    journeys = net.trace(tmp_path, LOSSY).journeys
    assert [len(j.copies) for j in journeys] == [2, 0, 1]
    assert [j.delay_ns for j in journeys] == [5 * MS] * 3


def test_reordered_is_what_a_later_one_overtook(tmp_path: Path) -> None:
    net = Net()
    for i, delay in enumerate([5, 5, 20, 5, 5, 5]):
        net.packet("client", "server", 2 * i, tcp(1, 2, i, 1, ACK, b"a"), delay_ms=delay)
    assert [j.number for j in net.trace(tmp_path).journeys if j.reordered] == [2]


@pytest.mark.parametrize("bit", [3, 40, 150, 170, 1000])
def test_a_flipped_bit_is_corrupted_not_lost(tmp_path: Path, bit: int) -> None:
    net = Net()
    for i in range(4):
        flip = bit if i == 2 else None
        net.packet("client", "server", i, tcp(1, 2, i * 200, 1, ACK, b"p" * 200), ip_id=i, flip=flip)
    journeys = net.trace(tmp_path, LOSSY).journeys
    assert [j.fate for j in journeys].count(Fate.CORRUPTED) == 1
    assert journeys[2].fate is Fate.CORRUPTED
    assert journeys[2].delay_ns == 5 * MS


def test_many_corrupted_datagrams_that_look_alike(tmp_path: Path) -> None:
    net = Net()
    for i in range(300):
        body = udp(1, 2, i.to_bytes(2, "big") * 10)
        net.packet("client", "server", i, body, protocol=17, flip=100 + i % 60 if i % 2 else None)
    journeys = net.trace(tmp_path, LOSSY).journeys
    assert [j.fate is Fate.CORRUPTED for j in journeys] == [bool(i % 2) for i in range(300)]
    assert {j.delay_ns for j in journeys} == {5 * MS}


def test_two_flipped_bits_are_not_the_same_packet(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 5, 1, ACK, b"p" * 20), delay_ms=None)
    altered = ipv4(tcp(1, 2, 5, 1, ACK, b"qp" + b"p" * 17 + b"q"), HOSTS["client"], HOSTS["server"], ttl=63)
    net.frames["server"].append((T0 + 5 * MS, ethernet(altered, target=MACS["server"])))
    lost, stray = net.trace(tmp_path, LOSSY).journeys
    assert (lost.fate, lost.received) == (Fate.LOST, None)
    assert (stray.fate, stray.sent, stray.source) == (Fate.UNKNOWN, None, "client")


def test_fragments_made_on_the_way_cover_what_was_sent(tmp_path: Path) -> None:
    net = Net()
    body = udp(7, 8, bytes(range(256)) * 4)
    for i, whole in enumerate([True, False]):
        sent = ipv4(body, HOSTS["client"], HOSTS["server"], protocol=17, ip_id=50 + i, fragment=0)
        net.frames["client"].append((T0 + i * 100 * MS, ethernet(sent, source=MACS["client"])))
        for offset in range(0, len(body), 400):
            piece = body[offset : offset + 400]
            more = 0x2000 if offset + 400 < len(body) else 0
            if offset == 400 and not whole:
                continue
            part = ipv4(
                piece,
                HOSTS["client"],
                HOSTS["server"],
                protocol=17,
                ip_id=50 + i,
                fragment=more | offset // 8,
                ttl=63,
            )
            net.frames["server"].append((T0 + (i * 100 + 5) * MS, ethernet(part, target=MACS["server"])))
    journeys = net.trace(tmp_path, LOSSY).journeys
    assert [j.fate for j in journeys if j.sent is not None] == [Fate.RECEIVED, Fate.LOST]


def test_what_a_bridge_floods_is_not_an_arrival(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 5, 6, SYN), delay_ms=5)
    flooded = ipv4(tcp(1, 2, 5, 6, SYN), HOSTS["client"], HOSTS["server"])
    net.frames["server"].append((T0 + 1000, ethernet(flooded, source=MACS["client"])))  # to the wire's MAC
    (journey,) = net.trace(tmp_path).journeys
    assert journey.delay_ns == 5 * MS
    assert journey.copies == ()


def test_packets_of_the_wire_and_to_nobody(tmp_path: Path) -> None:
    net = Net()
    out = ipv4(tcp(1, 2, 5, 6, SYN), HOSTS["client"], "198.18.1.99")
    net.frames["client"].append((T0, ethernet(out, source=MACS["client"])))
    error = ipv4(b"\x03\x01\0\0\0\0\0\0" + out[14:], "198.18.1.2", HOSTS["client"], protocol=1)
    net.frames["client"].append((T0 + MS, ethernet(error, target=MACS["client"])))
    trace = net.trace(tmp_path)
    sent, answer = trace.journeys
    assert (sent.source, sent.target, sent.fate) == ("client", WIRE, Fate.UNKNOWN)
    assert (answer.source, answer.target, answer.fate) == (WIRE, "client", Fate.UNKNOWN)
    assert not trace.unexplained()


def test_three_hosts_and_one_without_a_capture(tmp_path: Path) -> None:
    net = Net(["client", "server"])
    net.frames["third"] = []
    net.packet("client", "server", 0, tcp(1, 2, 5, 6, SYN))
    net.packet("client", "third", 1, tcp(1, 2, 5, 6, SYN), delay_ms=9)
    trace = net.trace(tmp_path, records_of(hosts=["client", "server", "third"]))
    assert [(j.target, j.delay_ns) for j in trace.journeys] == [("server", 5 * MS), ("third", 9 * MS)]
    del net.frames["third"]
    trace = net.trace(tmp_path, records_of(hosts=["client", "server", "third"]))
    assert [j.fate for j in trace.journeys] == [Fate.RECEIVED, Fate.UNKNOWN]


def test_ipv6_addresses_are_learned_from_the_hosts_own_frames(tmp_path: Path) -> None:
    net = Net()
    ends = {"client": "2001:db8::10", "server": "2001:db8::11"}
    for i, (source, target, flags) in enumerate([("client", "server", SYN), ("server", "client", SYN | ACK)]):
        ports = (1, 2) if source == "client" else (2, 1)
        packet = ipv6(tcp(*ports, 5 + i, 6, flags), ends[source], ends[target])
        at = T0 + i * 10 * MS
        net.frames[source].append((at, ethernet(packet, kind=0x86DD, source=MACS[source])))
        routed = packet[:7] + bytes([packet[7] - 1]) + packet[8:]
        net.frames[target].append((at + 5 * MS, ethernet(routed, kind=0x86DD, target=MACS[target])))
    trace = net.trace(tmp_path)
    assert [(j.source, j.target, j.delay_ns) for j in trace.journeys] == [
        ("client", "server", 5 * MS),
        ("server", "client", 5 * MS),
    ]
    (flow,) = trace.flows
    assert (len(flow.handshake.syn), len(flow.handshake.syn_ack)) == (1, 1)
