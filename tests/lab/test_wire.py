"""The wire between two real hosts: what it is asked to do to packets is what happens to them."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks.pair import Pair, result, wired_pair
from lab.engine.docker import DockerEngine
from lab.engine.images import Images
from lab.errors import WireError
from lab.link import UNIMPAIRED, GilbertElliott, Impairment, Link
from lab.units import Duration, Percent, Rate, Size
from tests.conftest import not_here
from tests.lab.commands import lab

pytestmark = pytest.mark.docker

MS = 1_000_000


def ms(value: float) -> Duration:
    return Duration(round(value * MS))


def pct(text: str) -> Percent:
    return Percent(Decimal(text))


@pytest.fixture(scope="module")
def shared(engine: DockerEngine, images: Images) -> Iterator[Pair]:
    with wired_pair(engine, images) as pair:
        yield pair


@pytest.fixture
def pair(shared: Pair) -> Iterator[Pair]:
    """The two hosts, unimpaired; after the test too."""
    yield shared
    for host in shared.hosts:
        shared.through.restore(host)
        shared.through.change(host, Link())
    shared.through.heal("client", "server")


def delays(found: dict[str, Any]) -> list[float]:
    """One-way delays in ms of what arrived."""
    return [(when - found["sent"][number]) / MS for number, when in found["arrived"]]


def numbers(found: dict[str, Any]) -> list[int]:
    return [number for number, _ in found["arrived"]]


def test_each_direction_has_its_own_delay(pair: Pair) -> None:
    pair.through.change("client", Link(up=Impairment(delay=ms(30)), down=Impairment(delay=ms(5))))
    pair.through.change("server", Link(up=Impairment(delay=ms(10))))
    there = delays(pair.datagrams(50, interval=0.002))
    back = delays(pair.datagrams(50, interval=0.002, source="server", target="client"))
    # The quickest of 50: a busy machine delays some, `benchmarks/fidelity.py` looks at the median.
    assert 30.0 <= min(there) <= 33.0
    assert 15.0 <= min(back) <= 18.0


def test_nothing_asked_changes_nothing(pair: Pair) -> None:
    found = pair.datagrams(500, interval=0.0005)
    assert numbers(found) == list(range(500))
    assert statistics.median(delays(found)) < 5.0
    assert pair.through.overruns() == {}


@pytest.mark.parametrize(
    ("link", "least", "most"),
    [
        (Impairment(loss=pct("30")), 200, 360),
        (Impairment(loss=pct("30"), loss_correlation=pct("25")), 120, 460),
        (Impairment(loss=pct("100")), 0, 0),
        (Impairment(gemodel=GilbertElliott(pct("10"), pct("30"), pct("100"), pct("0"))), 200, 390),
        (Impairment(duplicate=pct("100")), 800, 800),
        (Impairment(corrupt=pct("100")), 0, 150),  # a bit of the checksum or of an unread field may be it
        (Impairment(limit=50, delay=ms(200)), 50, 60),
    ],
    ids=["loss", "loss_correlation", "loss-all", "gemodel", "duplicate", "corrupt", "limit"],
)
def test_how_many_arrive(pair: Pair, link: Impairment, least: int, most: int) -> None:
    pair.through.change("client", Link(up=link))
    assert least <= len(pair.datagrams(400, quiet=0.3)["arrived"]) <= most


def test_jitter_and_its_distributions(pair: Pair) -> None:
    spread = {}
    for name in ("normal", "pareto", "paretonormal", "uniform"):
        link = Impairment(delay=ms(30), jitter=ms(5), distribution=name)
        pair.through.change("client", Link(up=link))
        spread[name] = delays(pair.datagrams(300, interval=0.001))
    assert all(statistics.median(values) > 25 for values in spread.values())
    # Within ± jitter where uniform (also after another table was loaded), beyond it where normal.
    assert min(spread["uniform"]) >= 24.9
    assert min(spread["normal"]) < 24.0
    # How early the earliest are: what a busy machine adds makes them late, never early.
    early = {name: 30 - statistics.quantiles(spread[name], n=20)[0] for name in spread}
    assert early["uniform"] < early["normal"]


def test_reorder_lets_packets_overtake(pair: Pair) -> None:
    link = Impairment(delay=ms(20), reorder=pct("25"), reorder_correlation=pct("0"), gap=2)
    pair.through.change("client", Link(up=link))
    found = pair.datagrams(200, interval=0.001)
    assert sorted(numbers(found)) == list(range(200))
    early = [delay for delay in delays(found) if delay < 15]
    assert 5 <= len(early) <= 60
    assert numbers(found) != list(range(200))


@pytest.mark.parametrize("burst", [None, Size(3_000)], ids=["netem", "tbf"])
def test_a_rate_spaces_packets(pair: Pair, burst: Size | None) -> None:
    """100 packets of 1,042 bytes on the wire at 1 Mbit/s: 0.83 s for the last."""
    link = Impairment(rate=Rate(1_000_000), burst=burst)
    pair.through.change("client", Link(up=link))
    found = pair.datagrams(100, size=1_000, quiet=0.4)
    assert len(found["arrived"]) == 100
    took = (found["arrived"][-1][1] - found["sent"][0]) / 1e9
    allowance = 0.0 if burst is None else 3_000 * 8 / 1e6
    assert 0.83 - allowance <= took <= 0.95


def test_a_change_keeps_what_is_queued(pair: Pair) -> None:
    wire = pair.through
    slow = Impairment(delay=ms(600))
    wire.change("client", Link(up=slow))
    during = _while_sending(pair, lambda: wire.change("client", Link(up=replace(slow, loss=pct("0.1")))))
    assert numbers(during) == list(range(50))
    assert min(delays(during)) >= 600
    # The same with the queue taken away, so that this test can fail:
    other = "qdisc replace dev up10 root handle 2: pfifo limit 1000"
    back = "qdisc replace dev up10 root handle 1: netem limit 50000 delay 600ms"
    without = _while_sending(pair, lambda: wire._control.run("tc", [other, back]))
    assert numbers(without) == []


def _while_sending(pair: Pair, act: Any) -> dict[str, Any]:
    """50 datagrams; `act` while they are in flight."""
    done: list[Any] = []
    sending = threading.Thread(target=lambda: done.append(pair.datagrams(50, quiet=0.9)))
    sending.start()
    while pair.through.in_flight() < 50:
        assert sending.is_alive()
    act()
    sending.join()
    assert pair.through.in_flight() == 0
    return dict(done[0])


@pytest.mark.parametrize("count", [1, 3, 10, 12, 150])
def test_exactly_the_next_n_are_dropped(pair: Pair, count: int) -> None:
    rule = pair.through.drop("client", "server", "data", count)
    found = pair.datagrams(200, interval=0.0002)
    assert numbers(found) == list(range(count, 200))
    drops, _ = pair.through.counters()
    assert {d.rule: d.dropped for d in drops}[rule] == count


def test_a_rule_that_is_used_up_stays_so_when_others_are_made(pair: Pair) -> None:
    """iptables-legacy writes its table anew for each rule."""
    wire = pair.through
    first = wire.drop("client", "server", "any", 2)
    assert numbers(pair.datagrams(5)) == [2, 3, 4]
    never = wire.drop("client", "server", "rst", 4)
    third = wire.drop("client", "server", "data", 1)
    assert numbers(pair.datagrams(5)) == [1, 2, 3, 4]
    assert numbers(pair.datagrams(5)) == [0, 1, 2, 3, 4]
    counts = {d.rule: d.dropped for d in wire.counters()[0]}
    assert (counts[first], counts[never], counts[third]) == (2, 0, 1)
    other_way = pair.datagrams(5, source="server", target="client")
    assert numbers(other_way) == [0, 1, 2, 3, 4]


def test_what_is_under_way_when_a_rule_is_made_is_spared(pair: Pair) -> None:
    wire = pair.through
    wire.change("client", Link(up=Impairment(delay=ms(900))))
    found = _while_sending(pair, lambda: wire.drop("client", "server", "any", 1))
    assert numbers(found) == list(range(50))
    wire.change("client", Link())
    assert numbers(pair.datagrams(3)) == [1, 2]


def test_syn_ack_dropped_costs_the_client_one_timeout(pair: Pair) -> None:
    rule = pair.through.drop("server", "client", "syn-ack", 1)
    taking = pair.probe("server", "take", 9_999)
    pair.hosts["server"].wait_for(30.0, listening=9_999)
    script = "import socket, sys, time; b = time.monotonic(); socket.create_connection((sys.argv[1], 9999));"
    script += "print(time.monotonic() - b)"
    client = pair.start("client", "python3", "-c", script, str(pair.addresses["server"])).result(60)
    assert 0.9 <= float(client.stdout) <= 1.5
    assert result(taking)["bytes"] == 0
    assert {d.rule: d.dropped for d in pair.through.counters()[0]}[rule] == 1


def test_cut_is_silent_loses_what_is_on_the_cable_and_counts_it(pair: Pair) -> None:
    wire = pair.through
    before = {d.rule: d.dropped for d in wire.counters()[0]}.get("cut:server:down", 0)
    wire.change("server", Link(down=Impairment(delay=ms(900))))
    found = _while_sending(pair, lambda: wire.cut("server", "down"))
    assert numbers(found) == []
    assert len(pair.datagrams(10)["arrived"]) == 0
    assert len(pair.datagrams(10, source="server", target="client")["arrived"]) == 10  # one direction only
    assert "nreachable" not in pair.ping("-c", "2", "-i", "0.1", "-W", "0.3")
    wire.restore("server", "down")
    wire.change("server", Link())
    assert numbers(pair.datagrams(10)) == list(range(10))
    after = {d.rule: d.dropped for d in wire.counters()[0]}["cut:server:down"]
    assert after - before == 50 + 10 + 2


def test_partition_stops_both_ways_in_the_middle(pair: Pair) -> None:
    wire = pair.through
    wire.change("server", Link(down=Impairment(delay=ms(900))))
    found = _while_sending(pair, lambda: wire.partition("client", "server"))
    assert numbers(found) == list(range(50))  # past the middle when it was parted
    wire.change("server", Link())
    assert pair.datagrams(5)["arrived"] == []
    assert pair.datagrams(5, source="server", target="client")["arrived"] == []
    wire.heal("server", "client")
    assert numbers(pair.datagrams(5)) == list(range(5))


def test_a_narrow_link_answers_as_a_router_does(pair: Pair) -> None:
    pair.through.change("client", Link(up=Impairment(mtu=1_000)))
    said = pair.ping("-c", "1", "-W", "1", "-M", "do", "-s", "1200")
    assert f"From {_wire_address(pair)} icmp_seq=1 Frag needed and DF set (mtu = 1000)" in said
    whole = pair.ping("-c", "1", "-W", "1", "-M", "dont", "-s", "1200", source="client")
    assert " 0% packet loss" in whole  # in pieces
    wide = pair.ping("-c", "1", "-W", "1", "-M", "do", "-s", "1200", source="server", target="client")
    assert "Frag needed" not in wide.split("icmp_seq=1", 1)[0]


def _wire_address(pair: Pair) -> str:
    return pair.through.facts().address


def test_what_was_changed_behind_the_labs_back_is_an_error(pair: Pair) -> None:
    wire = pair.through
    link = Link(up=Impairment(delay=ms(50)))
    wire.change("client", link)
    wire._control.run("tc", ["qdisc change dev up10 root handle 1: netem limit 50000 delay 25ms"])
    with pytest.raises(WireError, match=r"link of client, up: delay: asked 0\.05s, got 0\.025s"):
        wire.confirm()
    wire.change("client", Link(up=Impairment(delay=ms(51))))
    wire.confirm()


def test_packets_to_and_from_others_do_not_pass(pair: Pair) -> None:
    """No default route on the wire, and what is for no host of the lab is dropped."""
    wire = pair.through
    assert "default" not in str(wire._control.ask("ip", "route show").json())
    subnet = _wire_address(pair).rsplit(".", 1)[0]
    outside = f"{subnet}.99"
    said = pair.start("client", "ping", "-c", "1", "-W", "1", outside).result(30).stdout
    assert "100% packet loss" in said or "Unreachable" in said


def test_a_queue_of_the_wires_own_that_overruns_is_told(engine: DockerEngine, images: Images) -> None:
    with wired_pair(engine, images) as pair:
        wire = pair.through
        if wire.hello.kind != "uml":
            not_here("the wire runs in the machine's kernel: it has no socket to overrun")
        assert wire.overruns() == {}
        # A machine so busy that user-mode Linux does not run for a while, and more than its socket can hold.
        wire._control.run("out", ['kill -STOP "$(cat "$run/wire/pid")"'])
        found: list[dict[str, Any]] = []
        before = _received_outside(pair)
        going = threading.Thread(target=lambda: found.append(pair.datagrams(50_000, size=1_400, quiet=1.0)))
        going.start()
        while _received_outside(pair) < before + 50_000:
            assert going.is_alive()
        wire._control.run("out", ['kill -CONT "$(cat "$run/wire/pid")"'])
        going.join()
        arrived = len(found[0]["arrived"])
        assert 5_000 < arrived < 50_000
        others = _received_outside(pair) - before - 50_000  # ARP: hosts ask for a wire that is silent
        lost = wire.overruns()
        assert list(lost) == ["container/eth0 to user-mode Linux"]
        assert 50_000 - arrived <= lost["container/eth0 to user-mode Linux"] <= 50_000 - arrived + others
        assert wire.facts().overruns == lost


def test_a_bulk_transfer_is_in_order_both_ways(tmp_path: Path) -> None:
    text = """\
lab: 1
hosts: {client: {link: {delay: 1ms}}}
steps:
  - {do: listen, at: server, port: 8001, as: l}
  - {do: connect, at: client, to: "server:8001", as: c}
  - {do: accept, at: server, on: l, as: s}
  - {do: drain, at: server, on: s, background: true, id: drained, timeout: 60s}
  - {do: sendall, at: client, on: c, data: {random: 20MB, seed: 1}, timeout: 60s}
  - {do: close, at: client, on: c}
  - {do: await, id: drained}
checks:
  - {check: reordered, from: client, to: server, count: 0}
  - {check: reordered, from: server, to: client, count: 0}
  - {check: retransmissions, from: client, to: server, count: 0}
"""
    (tmp_path / "bulk.yml").write_text(text)
    done = lab("run", "-q", tmp_path / "bulk.yml", "--repeat", "3", "--out", tmp_path / "runs")
    assert done.exit_code == 0, done.stdout + done.stderr


def test_where_nothing_is_impaired_the_machines_kernel_routes(engine: DockerEngine, images: Images) -> None:
    with wired_pair(engine, images, kind="route") as pair:
        wire = pair.through
        if not wire.hello.router:
            not_here(f"no iptables works in the machine's kernel: {wire.hello.reason}")
        assert (wire.hello.kind, wire.hello.kernel) == ("kernel", wire.hello.machine)
        said = pair.ping("-c", "20", "-i", "0.01")
        assert "20 received" in said
        assert "ttl=63" in said
        assert "Redirect" not in said
        assert pair.hosts["client"].counters()["IcmpInRedirects"] == 0
        outside = f"{_wire_address(pair).rsplit('.', 1)[0]}.99"
        said = pair.start("client", "ping", "-c", "1", "-W", "1", outside).result(30).stdout
        assert "100% packet loss" in said
        assert len(pair.datagrams(2_000)["arrived"]) == 2_000
        wire.confirm()
        assert wire.facts().overruns == {}
        wire._control.run("tc", ["qdisc add dev eth0 root tbf rate 1mbit burst 10000b limit 100000b"])
        with pytest.raises(WireError, match="asked no tbf, got one on eth0"):
            wire.confirm()


def test_a_kernel_without_netem_is_refused_with_the_reason(engine: DockerEngine, images: Images) -> None:
    with wired_pair(engine, images) as pair:
        chosen = pair.through.hello
    if chosen.kind == "kernel":
        not_here("the machine's kernel can impair")
    assert "cannot impair: " in chosen.reason
    with (
        pytest.raises(WireError, match=r"kernel: the machine's kernel .* cannot impair: "),
        wired_pair(engine, images, kind="kernel"),
    ):
        pass


def test_a_user_mode_linux_that_dies_is_told_at_once(engine: DockerEngine, images: Images) -> None:
    with wired_pair(engine, images, {"client": Link(up=UNIMPAIRED)}) as pair:
        if pair.through.hello.kind != "uml":
            not_here("the wire runs in the machine's kernel")
        engine.exec(pair.containers["wire"], ["sh", "-c", "kill -KILL $(cat /run/lab/wire/pid)"])
        with pytest.raises(WireError, match=r"user-mode Linux ended with status 137|its container ended"):
            _forever(pair.through.in_flight)


def _received_outside(pair: Pair) -> int:
    links = pair.through._control.ask("out", "ip -j -s link show").json()
    return int(next(link["stats64"]["rx"]["packets"] for link in links if link["ifname"] == "eth0"))


def _forever(ask: Callable[[], object]) -> None:
    while True:
        ask()
