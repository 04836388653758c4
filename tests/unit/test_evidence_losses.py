"""Why packets are lost, and which losses nothing explains."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from lab.evidence.model import DropCount, QueueCount, Records, WireEvent
from lab.evidence.proof import contradictions, prove
from lab.evidence.trace import Fate, Trace
from lab.link import Impairment
from tests.unit.evidence_frames import ACK, FIN, MS, SYN, T0, Net, records_of, side, tcp, udp


def event(action: str, at_ms: float, **keys: object) -> WireEvent:
    return WireEvent(T0 + round(at_ms * MS), action, keys.pop("step", "s"), **keys)  # type: ignore[arg-type]


def story(
    folder: Path,
    records: Records,
    lost: Iterable[int],
    *,
    count: int = 10,
    flags: int = ACK,
    step_ms: float = 100,
) -> Trace:
    """One packet each 100 ms from client to server, and one at 9 s that arrives; `lost` did not."""
    net = Net()
    for i in range(count):
        delay = None if i in lost else 5
        net.packet("client", "server", i * step_ms, tcp(1, 2, i, 1, flags, b"x"), ip_id=i, delay_ms=delay)
    net.packet("client", "server", 9000, tcp(1, 2, 99, 1, ACK))
    return net.trace(folder, records)


def causes(trace: Trace) -> list[str]:
    return [j.cause.kind for j in trace.journeys if j.cause is not None]


def test_a_loss_that_nothing_explains(tmp_path: Path) -> None:
    trace = story(tmp_path, records_of(up=side(delay="5ms")), [4])
    assert [j.number for j in trace.unexplained()] == [4]
    assert causes(trace) == ["unexplained"]


def test_configured_loss_explains(tmp_path: Path) -> None:
    trace = story(tmp_path, records_of(down=side(loss="10%")), [4])
    assert not trace.unexplained()
    assert trace.journeys[4].cause is not None
    assert trace.journeys[4].cause.text == "loss 10% on server.down"


def test_a_drop_rule_explains_as_many_as_it_dropped_and_only_what_it_matches(tmp_path: Path) -> None:
    rule = event("drop", 150, rule="r1", source="client", target="server", match="data", count=3)
    records = records_of(events=[rule], drops=[DropCount("r1", 2)], steps=[("s", 140, 150)])
    trace = story(tmp_path, records, [0, 2, 3, 4])
    assert causes(trace) == ["unexplained", "drop", "drop", "unexplained"]
    assert trace.journeys[2].cause is not None
    assert (trace.journeys[2].cause.rule, trace.journeys[2].cause.step) == ("r1", "s")
    fins = event("drop", 0, rule="r1", source="client", target="server", match="fin", count=3)
    assert causes(story(tmp_path, records_of(events=[fins]), [1])) == ["unexplained"]
    assert causes(story(tmp_path, records_of(events=[fins]), [1], flags=ACK | FIN)) == ["drop"]
    other_way = event("drop", 0, rule="r1", source="server", target="client", match="any", count=3)
    assert causes(story(tmp_path, records_of(events=[other_way]), [1])) == ["unexplained"]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (
            event("cut", 350, host="client", direction="up"),
            event("restore", 550, host="client", direction="both"),
        ),
        (event("cut", 350, host="server"), event("restore", 550, host="server")),
        (
            event("partition", 350, between=("server", "client")),
            event("heal", 550, between=("client", "server")),
        ),
        (event("power_off", 350, host="server"), event("power_on", 550, host="server")),
    ],
)
def test_silence_explains_while_it_lasts(tmp_path: Path, begin: WireEvent, end: WireEvent) -> None:
    records = records_of(events=[begin, end], steps=[("s", 340, 350)])
    trace = story(tmp_path, records, [4, 5, 8])
    assert causes(trace) == [begin.action.replace("_", " ")] * 2 + ["unexplained"]


def test_a_cut_of_the_other_direction_explains_nothing(tmp_path: Path) -> None:
    records = records_of(events=[event("cut", 0, host="client", direction="down")])
    assert causes(story(tmp_path, records, [3])) == ["unexplained"]


def test_a_packet_on_its_way_when_the_cut_comes(tmp_path: Path) -> None:
    cut = event("cut", 460, host="server")
    records = records_of(up=side(delay="80ms"), events=[cut], steps=[("s", 450, 460)])
    assert causes(story(tmp_path, records, [4])) == ["cut"]
    records = records_of(
        up=side(delay="80ms"), events=[event("cut", 700, host="server")], steps=[("s", 690, 700)]
    )
    assert causes(story(tmp_path, records, [4])) == ["unexplained"]


def test_loss_that_a_step_began_or_ended(tmp_path: Path) -> None:
    lossy, clean = side(loss="50%"), Impairment(loss=side(loss="0%").loss)
    events = [
        event("link", 310, host="client", direction="up", impairment=lossy, step="on"),
        event("link", 610, host="client", direction="up", impairment=clean, step="off"),
    ]
    records = records_of(events=events, steps=[("on", 290, 310), ("off", 590, 610)])
    assert causes(story(tmp_path, records, [1, 3, 5, 8])) == ["unexplained", "loss", "loss", "unexplained"]


def test_in_flight_at_the_end_is_not_lost(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 5, 1, SYN))
    net.packet("client", "server", 400, tcp(1, 2, 6, 1, ACK), delay_ms=None)
    trace = net.trace(tmp_path, records_of(up=side(delay="200ms"), end_ms=500))
    assert [j.fate for j in trace.journeys] == [Fate.RECEIVED, Fate.IN_FLIGHT]
    trace = net.trace(tmp_path, records_of(up=side(delay="20ms"), end_ms=500))
    assert [j.fate for j in trace.journeys] == [Fate.RECEIVED, Fate.LOST]


def test_lost_at_the_very_end_if_a_later_one_arrived(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 400, tcp(1, 2, 6, 1, ACK), delay_ms=None)
    net.packet("client", "server", 401, tcp(1, 2, 7, 1, ACK), delay_ms=20)
    trace = net.trace(tmp_path, records_of(up=side(delay="20ms"), end_ms=430))
    assert [j.fate for j in trace.journeys] == [Fate.LOST, Fate.RECEIVED]


def test_a_full_queue_must_have_counted(tmp_path: Path) -> None:
    limited = side(rate="1mbit", limit=10)
    full = [QueueCount("client", "up", 1, 1, 3, 0)]
    idle = [QueueCount("client", "up", 1, 1, 0, 0)]
    assert causes(story(tmp_path, records_of(up=limited, queues=full), [2])) == ["queue"]
    assert causes(story(tmp_path, records_of(up=limited, queues=idle), [2])) == ["unexplained"]


def test_larger_than_the_mtu(tmp_path: Path) -> None:
    net = Net()
    net.packet("client", "server", 0, tcp(1, 2, 5, 1, ACK, b"x" * 900), delay_ms=None)
    net.packet("client", "server", 1, tcp(1, 2, 5, 1, ACK, b"x" * 400), delay_ms=None)
    net.packet("client", "server", 9000, tcp(1, 2, 5, 1, ACK))
    assert causes(net.trace(tmp_path, records_of(down=side(mtu=600)))) == ["mtu", "unexplained"]


def test_the_other_fragments_of_a_datagram_of_which_one_was_dropped(tmp_path: Path) -> None:
    rule = event("drop", 0, rule="r1", source="client", target="server", match="any", count=1)
    net = Net()
    for ip_id, delay in ((7, None), (8, 5.0)):
        for i in range(3):
            more = 0x2000 if i < 2 else 0
            body = udp(1, 2, b"x" * 16) if i == 0 else bytes([i]) * 24
            fragment = more | i * 3
            net.packet(
                "client",
                "server",
                ip_id + i / 10,
                body,
                ip_id=ip_id,
                protocol=17,
                fragment=fragment,
                delay_ms=delay,
            )
    records = records_of(events=[rule], drops=[DropCount("r1", 1)])
    trace = net.trace(tmp_path, records)
    assert causes(trace) == ["drop", "fragment", "fragment"]
    assert not trace.unexplained()
    assert not contradictions(prove(trace))
    assert causes(net.trace(tmp_path, records_of())) == ["unexplained"] * 3
