"""lab.evidence.discards: what a host's own kernel threw away after it had arrived."""

from __future__ import annotations

from pathlib import Path

from lab.evidence.model import CounterRecord, Endpoint
from lab.evidence.trace import Trace
from tests.unit.check_helpers import ADDRESSES, Connection, Story, call

S = ADDRESSES["server"]


def counted(story: Story, **moved: int) -> Trace:
    record = CounterRecord("server", dict.fromkeys(moved, 0), moved)
    story.more["counters"] = {"server": record}
    return story.evidence().trace


def discarded(trace: Trace) -> dict[int, str]:
    return {j.number: j.discarded.kind for j in trace.journeys if j.discarded is not None}


def queue(tmp_path: Path) -> Story:
    """Two SYNs of one connection that nobody answers, and a third that is."""
    story = Story(tmp_path, until=5000)
    one = Connection(story)
    one.send(0, "client", "S", again=True)
    one.send(1000, "client", "S", again=True)
    one.handshake(2000)
    return story


def test_a_syn_that_the_full_queue_threw_away(tmp_path: Path) -> None:
    trace = counted(queue(tmp_path), TcpExtListenOverflows=2)
    assert discarded(trace) == {0: "accept queue", 1: "accept queue"}
    first = trace.journeys[0].discarded
    assert first is not None
    assert first.text == "the accept queue of server is full: the SYN was thrown away"


def test_not_more_than_the_counter_says(tmp_path: Path) -> None:
    assert discarded(counted(queue(tmp_path), TcpExtListenOverflows=1)) == {0: "accept queue"}
    assert discarded(counted(queue(tmp_path), TcpExtListenOverflows=0)) == {}


def test_an_ack_that_the_full_queue_threw_away(tmp_path: Path) -> None:
    story = Story(tmp_path, until=5000)
    one = Connection(story)
    one.handshake()
    one.send(1010, "server", "SA", seq=900_000, again=True)
    trace = counted(story, TcpExtListenOverflows=1)
    assert discarded(trace) == {2: "accept queue"}


def test_a_full_receive_buffer_by_what_was_received(tmp_path: Path) -> None:
    story = Story(tmp_path, until=1000)
    for number in range(6):
        story.udp(number, "client", "server", f"datagram {number}".encode())
    story.more["calls"] = tuple(
        call(
            f"r{n}",
            "recvfrom",
            host="server",
            at=100 + n,
            data=f"datagram {n}".encode(),
            kind="udp",
            local=Endpoint(S, 9000),
        )
        for n in (0, 1, 3)
    )
    trace = counted(story, UdpRcvbufErrors=2)
    assert discarded(trace) == {2: "receive buffer", 5: "receive buffer"}


def test_who_received_is_not_known(tmp_path: Path) -> None:
    story = Story(tmp_path, until=1000)
    story.udp(0, "client", "server", b"x")
    assert discarded(counted(story, UdpRcvbufErrors=1)) == {}
