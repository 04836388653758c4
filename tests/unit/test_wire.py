"""lab.wire.Wire over a stream that answers like the wire's container."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.clock import Deadline
from lab.errors import EXIT_ENVIRONMENT, NothingImpairs, WireError
from lab.link import Impairment, Link
from lab.units import Duration, Percent, Rate
from lab.wire import Wire, counting, router
from lab.wire.console import Console
from lab.wire.control import Control
from lab.wire.router import mtu_differences, mtu_routes
from tests.unit.wire_fake import HELLO, READY, FakeWire, opened, setup, standing

DELAYED = Link(up=Impairment(delay=Duration(10_000_000)), down=Impairment(loss=Percent(Decimal(1))))


def test_it_says_which_kernel_and_why() -> None:
    wire = opened(FakeWire())
    hello = wire.hello
    assert (hello.kind, hello.kernel, hello.machine) == ("uml", "6.1.176", "6.18.44")
    assert hello.reason == "cannot impair: a=b"
    assert (hello.device, hello.mtu) == ("eth0", 1500)
    wire.close()
    wire.close()


def test_a_machine_that_cannot_impair_says_why() -> None:
    fake = FakeWire((f"{HELLO}", "wire unable auto: the machine's kernel 6.18 cannot impair: x; and no tun"))
    with pytest.raises(NothingImpairs, match=r"kernel 6\.18 cannot impair: x; and no tun") as caught:
        opened(fake)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert "lab doctor" in caught.value.hint


def test_a_user_mode_linux_that_dies_is_told_with_its_last_output() -> None:
    fake = FakeWire((HELLO, "Kernel panic - not syncing", "wire dead 134"))
    with pytest.raises(WireError, match="user-mode Linux ended with status 134") as caught:
        opened(fake)
    assert "Kernel panic - not syncing" in str(caught.value)


def test_a_container_that_ends_is_told_at_once_and_again() -> None:
    fake, wire = standing()
    fake.mute = True
    fake.end()
    for _ in range(2):
        with pytest.raises(WireError, match="its container ended"):
            wire.in_flight()


def test_silence_is_told() -> None:
    fake = FakeWire()
    fake.mute = True
    with pytest.raises(WireError, match="tc qdisc show: no answer in time"):
        Console(fake).request("tc", ["qdisc show"], Deadline.after(0.01, "10 ms"))


def test_a_long_request_goes_in_portions_and_a_line_that_does_not_fit_is_refused() -> None:
    fake, wire = standing()
    before = len(fake.lines)
    lines = [
        f"qdisc add dev d{number} root netem limit 1 delay 0us 0us 0% loss random 0% 0% rate 0bit"
        for number in range(100)
    ]
    fake.refuse = "dev d77 "
    with pytest.raises(WireError, match="tc qdisc add dev d77 root netem"):
        wire._control.run("tc", lines)
    sent = fake.lines[before:]
    ends = [at for at, line in enumerate(sent) if line.startswith("tc end")]
    assert len(ends) == 5
    assert [line for line in sent if "netem" in line] == [f"tc {line}" for line in lines]
    assert wire._control.commands[-1]["status"] == 1
    with pytest.raises(WireError, match="longer than the console's 2000"):
        wire._control.run("sh", ["x" * 2_000])


def test_set_up_is_confirmed_and_recorded() -> None:
    fake, wire = standing(client=DELAYED)
    links = [(e.host, e.direction, e.impairment, e.step) for e in wire.events if e.action == "link"]
    assert links == [
        ("client", "up", DELAYED.up, None),
        ("client", "down", DELAYED.down, None),
        ("server", "up", Impairment(), None),
        ("server", "down", Impairment(), None),
    ]
    facts = wire.facts()
    assert (facts.kind, facts.kernel, facts.address) == ("uml", "6.1.176", "198.18.7.2")
    assert [entry["step"] for entry in facts.readback] == [None]
    assert facts.readback[0]["qdiscs"][0]["options"]["delay"]["delay"] == 0.01
    assert any("loss random 1% 0%" in command["input"] for command in facts.commands)
    assert all(command["status"] == 0 and command["duration_ms"] >= 0 for command in facts.commands)
    assert any("neigh replace 198.18.7.11 lladdr 02:c6:c6:12:07:0b" in line for line in fake.lines)


def routing(links: dict[str, Link] | None = None, *, drops: bool = False) -> tuple[FakeWire, Wire]:
    fake = FakeWire((HELLO.replace("kind=uml", "kind=kernel router=iptables-nft"), READY))
    wire = opened(fake)
    wire.set_up(setup(links or {}, drops=drops))
    return fake, wire


def test_a_wire_that_only_routes_forwards_to_the_hosts_and_says_that_nothing_impairs() -> None:
    fake, wire = routing()
    (forward,) = [line for line in fake.lines if "-restore" in line]
    assert "iptables-nft-restore --noflush" in forward
    assert "-A FORWARD -d 198.18.7.10/32 -j ACCEPT" in forward
    assert "-A FORWARD -d 198.18.7.11/32 -j ACCEPT" in forward
    assert not any("netem" in line or "ifb" in line for line in fake.lines)
    assert [(e.host, e.direction, e.impairment) for e in wire.events] == [
        (host, side, Impairment()) for host in ("client", "server") for side in ("up", "down")
    ]
    facts = wire.facts()
    assert (facts.kind, facts.queues, facts.drops, facts.overruns) == ("kernel", (), (), {})
    assert [entry["step"] for entry in facts.readback] == [None]
    wire.confirm()
    fake.qdiscs["eth0"] = {"kind": "netem", "dev": "eth0", "root": True, "options": {}}
    with pytest.raises(WireError, match="asked no netem, got one on eth0"):
        wire.confirm()


def test_packets_that_a_routing_wire_loses_are_told() -> None:
    fake, wire = routing()
    fake.links = [{"ifname": "eth0", "stats64": {"rx": {"dropped": 3}, "tx": {}}}]
    assert wire.overruns() == {"wire/eth0 rx": 3}


def test_a_wire_that_only_routes_impairs_nothing() -> None:
    with pytest.raises(WireError, match="impairs nothing, and only routes"):
        routing({"client": DELAYED})
    with pytest.raises(WireError, match="impairs nothing, and only routes"):
        routing(drops=True)
    _, wire = routing()
    for impair in (
        lambda: wire.change("client", DELAYED),
        lambda: wire.cut("client"),
        lambda: wire.power("client", "off"),
        lambda: wire.partition("client", "server"),
        lambda: wire.drop("client", "server", "syn", 1),
    ):
        with pytest.raises(WireError, match="impairs nothing, and only routes"):
            impair()


def test_dynamic_arp_fixes_no_neighbour() -> None:
    fake = FakeWire()
    wire = opened(fake)
    wire.set_up(setup(arp="dynamic"))
    assert not any("neigh" in line for line in fake.lines)


def _halved(qdiscs: list[dict[str, Any]]) -> None:
    for entry in qdiscs:
        entry["options"]["delay"]["delay"] /= 2


def test_a_delay_that_was_halved_behind_the_labs_back_is_an_error() -> None:
    fake = FakeWire()
    fake.spoil = _halved
    wire = opened(fake)
    with pytest.raises(WireError, match=r"link of client, up: delay: asked 0\.01s, got 0\.005s"):
        wire.set_up(setup({"client": DELAYED}))
    assert wire.events == []


def test_a_change_that_does_not_take_is_an_error() -> None:
    fake, wire = standing(client=DELAYED)
    fake.spoil = _halved
    slower = Link(up=Impairment(delay=Duration(20_000_000)), down=DELAYED.down)
    with pytest.raises(WireError, match=r"link of client, up: delay: asked 0\.02s, got 0\.01s"):
        wire.change("client", slower, "steps[3]")
    assert not any(event.step for event in wire.events)


def test_a_link_that_was_changed_behind_the_labs_back_is_found_at_the_end() -> None:
    fake, wire = standing(client=DELAYED)
    wire.confirm()
    fake.spoil = _halved
    with pytest.raises(WireError, match=r"link of client, up: delay: asked 0\.01s, got 0\.005s"):
        wire.confirm()
    assert len(wire.facts().readback) == 3  # what was found is kept


def test_a_line_that_is_refused_is_named_with_the_answer() -> None:
    fake, wire = standing()
    fake.refuse = "qdisc change"
    with pytest.raises(
        WireError, match=r"refused \(uml, 6\.1\.176\): tc qdisc change dev up10 .*kind is unknown"
    ):
        wire.change("client", DELAYED)
    failed = wire.facts().commands[-1]
    assert failed["status"] == 1
    assert "Specified qdisc kind is unknown" in failed["output"]


def test_only_the_direction_that_changes_is_touched() -> None:
    fake, wire = standing(client=DELAYED)
    before = len(fake.lines)
    wire.change("client", Link(up=Impairment(delay=Duration(20_000_000)), down=DELAYED.down), "steps[3]")
    changed = [line for line in fake.lines[before:] if "netem" in line]
    assert len(changed) == 1
    assert "change dev up10 " in changed[0]
    assert [(e.direction, e.step) for e in wire.events[4:]] == [("up", "steps[3]")]


def test_cut_and_restore() -> None:
    fake, wire = standing()
    fake.qdiscs["down10"]["qlen"] = 3
    wire.cut("client", step="cut")
    blocked = [(hook, [f["pref"] for f in filters]) for hook, filters in fake.filters.items()]
    assert blocked == [("ingress", [10]), ("egress", [11])]
    wire.cut("client", "up")  # a second time changes nothing
    fake.counters[1000] = 4
    wire.restore("client", step="restore")
    assert fake.filters == {"ingress": [], "egress": []}
    assert [(e.action, e.direction, e.step) for e in wire.events[4:]] == [
        ("cut", "both", "cut"),
        ("cut", "up", None),
        ("restore", "both", "restore"),
    ]
    drops, _ = wire.counters()
    assert {d.rule: d.dropped for d in drops} == {"cut:client:up": 4, "cut:client:down": 3}


def test_one_direction_alone() -> None:
    fake, wire = standing()
    wire.cut("server", "down")
    assert [len(filters) for filters in fake.filters.values()] == [0, 1]


def test_a_host_without_power_stays_cut_off_until_it_has_power() -> None:
    fake, wire = standing()
    wire.cut("client")
    wire.power("client", "off", "off")
    wire.restore("client")
    assert all(fake.filters.values())
    wire.power("client", "on", "on")
    assert not any(fake.filters.values())
    assert [e.action for e in wire.events[4:]] == ["cut", "power_off", "restore", "power_on"]


def test_a_cut_that_does_not_hold_is_an_error() -> None:
    fake, wire = standing()
    fake.refuse = "nothing"
    fake.filters = {"ingress": _Deaf(), "egress": _Deaf()}
    with pytest.raises(WireError, match="cut:client:up is not as asked: asked on, got off"):
        wire.cut("client")


class _Deaf(list[Any]):
    """Filters that are said to be added and are not there."""

    def append(self, item: Any) -> None:
        del item


def test_partition_and_heal() -> None:
    fake, wire = standing()
    wire.partition("client", "server", "part")
    assert [len(filters) for filters in fake.filters.values()] == [0, 2]
    wire.heal("server", "client", "heal")
    assert not any(fake.filters.values())
    assert [(e.action, e.between) for e in wire.events[4:]] == [
        ("partition", ("client", "server")),
        ("heal", ("server", "client")),
    ]


def test_drop_rules_are_marked_in_order_and_counted() -> None:
    fake, wire = standing()
    first = wire.drop("client", "server", "syn", 1, "steps[0]")
    second = wire.drop("server", "client", ["ACK", "syn"], 12)
    assert (first, second) == ("drop1", "drop2")
    assert sum("modprobe" in line for line in fake.lines) == 1
    marks = [line for line in fake.lines if "skbedit mark" in line]
    assert [line.split("mark ")[1] for line in marks] == ["1 continue", "2 continue"]
    event = wire.events[-2]
    assert (event.rule, event.source, event.target, event.match) == ("drop1", "client", "server", "syn")
    assert wire.events[-1].match == ("syn", "ack")
    fake.saved = [line.replace("[0:0]", "[1:60]") if "lab-1-" in line else line for line in fake.saved]
    drops, _ = wire.counters()
    assert {d.rule: d.dropped for d in drops} == {"drop1": 1, "drop2": 0}


def test_a_rule_that_took_too_many_is_an_error() -> None:
    fake, wire = standing()
    wire.drop("client", "server", "syn", 1)
    fake.saved = [line.replace("[0:0]", "[2:120]") for line in fake.saved]
    with pytest.raises(WireError, match="drop1: asked to drop 1 packets, dropped 2"):
        wire.counters()
    fake.saved = []
    with pytest.raises(WireError, match="the rules drop1 are gone"):
        wire.counters()


def test_packets_in_flight_are_those_in_all_queues() -> None:
    fake, wire = standing()
    assert wire.in_flight() == 0
    fake.qdiscs["up10"]["qlen"] = 3
    fake.qdiscs["down11"]["qlen"] = 4
    assert wire.in_flight() == 7


def test_what_the_wire_loses_by_itself_is_told() -> None:
    fake, wire = standing(client=Link(up=Impairment(rate=Rate(8_000))))
    assert wire.overruns() == {}
    tap = {"rx": {"dropped": 0, "errors": 0}, "tx": {"dropped": 5, "errors": 0}}
    fake.links = [{"ifname": "eth0", "stats64": tap}]
    full = [
        {
            "pref": 20_000,
            "options": {"actions": [{"kind": "mirred", "to_dev": dev, "stats": {"overlimits": n}}]},
        }
        for dev, n in (("up10", 7), ("down10", 2))
    ]
    fake.filters["ingress"] = full
    # up10 has a rate: its queue is full because the scenario made it slow.
    assert wire.overruns() == {"wire/eth0 tx": 5, "wire/down10 queue": 2}
    assert wire.facts().overruns == wire.overruns()
    _, queues = wire.counters()
    assert {(q.host, q.direction): q.queue_full for q in queues if q.queue_full} == {
        ("client", "up"): 7,
        ("client", "down"): 2,
    }


def test_mtu_is_the_narrowest_of_the_way() -> None:
    links = {"client": Link(up=Impairment(mtu=1400)), "server": Link(down=Impairment(mtu=1000))}
    routes = mtu_routes(setup(links), links)
    assert [(str(r.source), str(r.target), r.mtu) for r in routes] == [("198.18.7.10", "198.18.7.11", 1000)]
    assert router.mtu_lines(routes[:1], "eth0", set()) == [
        "route replace 198.18.7.11/32 dev eth0 table 1010 mtu lock 1000",
        "rule add from 198.18.7.10/32 lookup 1010",
    ]
    assert len(router.mtu_lines(routes[:1], "eth0", {1010})) == 1
    got = {1010: [{"dst": "198.18.7.11", "metrics": [{"mtu": 1500}]}]}
    assert mtu_differences(routes, got) == ["mtu from 198.18.7.10 to 198.18.7.11: asked 1000, got 1500"]
    assert mtu_differences(routes, {}) == ["mtu from 198.18.7.10 to 198.18.7.11: asked 1000, got none"]


def test_an_mtu_is_routed_and_read_back() -> None:
    fake, wire = standing(client=Link(up=Impairment(mtu=1000)))
    assert [route["metrics"] for route in fake.routes.values()] == [[{"mtu": 1000}]]
    wire.change("client", Link(up=Impairment(mtu=900)))
    assert [route["metrics"] for route in fake.routes.values()] == [[{"mtu": 900}]]
    assert sum("rule add" in line for line in fake.lines) == 1


def test_unknown_hosts_and_a_wire_that_is_not_set_up() -> None:
    _, wire = standing()
    with pytest.raises(WireError, match="no host 'clinet': the hosts are client, server"):
        wire.cut("clinet")
    fresh = opened(FakeWire((HELLO, READY)))
    with pytest.raises(WireError, match="not set up yet"):
        fresh.cut("client")


class Moving:
    """A session whose two kernels are read while packets come; nothing is lost in the end."""

    def __init__(self, outside: list[int], inside: list[int]) -> None:
        self.hello = SimpleNamespace(kind="uml", device="eth0")
        self._left = {"out": outside, "ip": inside}

    def ask(self, tool: str, line: str) -> SimpleNamespace:
        left = self._left[tool]
        received = left.pop(0) if len(left) > 1 else left[0]
        stats = {"rx": {"packets": received}, "tx": {"packets": 0}}
        return SimpleNamespace(json=lambda: [{"ifname": "eth0", "stats64": stats}])


@pytest.mark.parametrize(
    ("outside", "inside", "lost"),
    [([5, 6, 6, 6], [6, 6, 6], 0), ([5, 5, 5], [4, 5, 5], 0), ([7], [5], 2)],
    ids=["one came between the readings", "one was still in the socket", "two are lost"],
)
def test_what_is_on_its_way_between_the_kernels_is_not_lost(
    outside: list[int], inside: list[int], lost: int
) -> None:
    out, own = counting.both_sides(cast(Control, Moving(outside, inside)))
    assert router.lost_between(out, own, "eth0")["container/eth0 to user-mode Linux"] == lost
