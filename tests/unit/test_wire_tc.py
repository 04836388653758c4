"""lab.wire.tc: an Impairment in tc's words, and tc's own account held against it."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.errors import WireError
from lab.link import UNIMPAIRED, GilbertElliott, Impairment
from lab.units import Duration, Percent, Rate, Size
from lab.wire import tc

PORT = tc.Port("client", IPv4Address("198.18.7.10"), "up", "up10")
MS = 1_000_000


def ms(value: float) -> Duration:
    return Duration(round(value * MS))


def pct(text: str) -> Percent:
    return Percent(Decimal(text))


def shown(**options: Any) -> list[dict[str, Any]]:
    """What `tc -j -s qdisc show` of iproute2 6.1 prints for one netem (copied from a run)."""
    return [
        {"kind": "pfifo", "handle": "1:", "dev": "eth0", "root": True, "options": {"limit": 50_000}},
        {
            "kind": "netem",
            "handle": "1:",
            "dev": "up10",
            "root": True,
            "refcnt": 2,
            "options": {"limit": 50_000, "ecn": False, "gap": 0} | options,
            "bytes": 490,
            "packets": 5,
            "drops": 0,
            "overlimits": 0,
            "requeues": 0,
            "backlog": 0,
            "qlen": 2,
        },
    ]


EVERYTHING = Impairment(
    delay=ms(10),
    jitter=ms(1),
    correlation=pct("25"),
    distribution="normal",
    loss=None,
    gemodel=GilbertElliott(pct("1"), pct("2"), pct("100"), pct("0")),
    duplicate=pct("0.5"),
    reorder=pct("5"),
    reorder_correlation=pct("50"),
    gap=3,
    corrupt=pct("0.1"),
    rate=Rate(100_000_000),
    limit=50_000,
)
EVERYTHING_SHOWN: dict[str, Any] = {
    "delay": {"delay": 0.01, "jitter": 0.001, "correlation": 0.25},
    "loss-gemodel": {"p": 0.01, "r": 0.02, "1-h": 1, "1-k": 0},
    "duplicate": {"duplicate": 0.005, "correlation": 0},
    "reorder": {"reorder": 0.05, "correlation": 0.5},
    "corrupt": {"corrupt": 0.001, "correlation": 0},
    "rate": {"rate": 12_500_000, "packetoverhead": 0, "cellsize": 0, "celloverhead": 0},
    "gap": 3,
}


def test_nothing_asked_is_still_said_whole() -> None:
    assert tc.netem(UNIMPAIRED) == (
        "limit 50000 delay 0us 0us 0% loss random 0% 0% duplicate 0% corrupt 0% rate 0bit"
    )


def test_every_key_has_its_word() -> None:
    assert tc.netem(EVERYTHING) == (
        "limit 50000 delay 10000us 1000us 25% distribution normal loss gemodel 1% 2% 100% 0%"
        " duplicate 0.5% corrupt 0.1% reorder 5% 50% gap 3 rate 100000000bit"
    )
    lossy = Impairment(loss=pct("0.5"), loss_correlation=pct("10"), rate=Rate(8_000), burst=Size(3_000))
    assert "loss random 0.5% 10%" in tc.netem(lossy)
    assert tc.netem(lossy).endswith("rate 0bit")  # tbf shapes, netem does not
    assert tc.tbf(lossy) == "rate 8000bit burst 3001b limit 75700000b"


@pytest.mark.parametrize(("rate", "burst", "said"), [(10**8, 1_514, 1_515), (10**9, 1_514, 1_520)])
def test_a_burst_of_one_packet_is_rounded_up_not_cut_down(rate: int, burst: int, said: int) -> None:
    """tc 6.1 keeps ticks of 64 ns, cut off, and shows whole microseconds, cut off: 1,512 bytes of 1,514."""
    asked = Impairment(rate=Rate(rate), burst=Size(burst))
    shows = burst * 8_000_000 // rate * rate // 8_000_000
    assert f"burst {said + 1}b " in tc.tbf(asked)
    shaper = {"kind": "tbf", "dev": "up10", "parent": "1:1", "options": {"rate": rate // 8, "burst": shows}}
    assert tc.differences(PORT, asked, [*shown(), shaper]) == []


def test_a_link_with_burst_has_a_tbf_below_its_netem() -> None:
    lines = tc.link_lines(PORT, Impairment(rate=Rate(8_000), burst=Size(3_000)), before=UNIMPAIRED)
    assert lines[0].startswith("qdisc change dev up10 root handle 1: netem limit ")
    assert lines[1].startswith("qdisc replace dev up10 parent 1:1 handle 10: tbf rate 8000bit ")
    bursty = Impairment(rate=Rate(8_000), burst=Size(3_000))
    assert tc.link_lines(PORT, bursty)[0].startswith("qdisc add dev up10 root handle 1: netem limit ")
    gone = tc.link_lines(PORT, UNIMPAIRED, before=bursty)
    assert gone[1:] == ["qdisc del dev up10 parent 1:1 handle 10:"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Impairment(reorder=pct("5")), "reorder needs delay"),
        (Impairment(gap=3, delay=ms(1)), "gap needs reorder"),
        (Impairment(burst=Size(3_000)), "burst needs rate"),
        (Impairment(burst=Size(1_000), rate=Rate(8_000)), "burst 1kB is less than one packet"),
        (Impairment(distribution="normal", delay=ms(1)), "distribution needs jitter"),
        (
            Impairment(loss=pct("1"), gemodel=GilbertElliott(*[pct("1")] * 4)),
            "loss and gemodel exclude each other",
        ),
    ],
)
def test_what_tc_cannot_do_is_said_before_it_is_tried(asked: Impairment, said: str) -> None:
    with pytest.raises(WireError, match=f"link of client, up: {said}"):
        tc.link_lines(PORT, asked)


def test_jitter_that_is_switched_off_or_has_no_delay_is_no_mistake() -> None:
    (off,) = tc.link_lines(PORT, Impairment(delay=ms(20), jitter=ms(0), distribution="normal"))
    assert " delay 20000us 0us 0% loss" in off  # a distribution of nothing
    (alone,) = tc.link_lines(PORT, Impairment(delay=ms(0), jitter=ms(5), correlation=pct("10")))
    assert " delay 1us 5000us 10% loss" in alone  # tc shows no jitter beside a delay of 0


def test_what_holds_differs_in_nothing() -> None:
    assert tc.differences(PORT, EVERYTHING, shown(**EVERYTHING_SHOWN)) == []
    assert tc.differences(PORT, UNIMPAIRED, shown(delay={"delay": 0, "jitter": 0, "correlation": 0})) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("delay", {"delay": 0.005, "jitter": 0.001, "correlation": 0.25}, "delay: asked 0.01s, got 0.005s"),
        ("delay", {"delay": 0.01, "jitter": 0.002, "correlation": 0.25}, "jitter: asked 0.001s, got 0.002s"),
        ("delay", {"delay": 0.01, "jitter": 0.001, "correlation": 0}, "correlation: asked 25%, got 0%"),
        ("loss-gemodel", {"p": 0.02, "r": 0.02, "1-h": 1, "1-k": 0}, "gemodel.p: asked 1%, got 2%"),
        ("loss-gemodel", {"p": 0.01, "r": 0.2, "1-h": 1, "1-k": 0}, "gemodel.r: asked 2%, got 20%"),
        (
            "loss-gemodel",
            {"p": 0.01, "r": 0.02, "1-h": 0, "1-k": 0},
            "gemodel.one_minus_h: asked 100%, got 0%",
        ),
        (
            "loss-gemodel",
            {"p": 0.01, "r": 0.02, "1-h": 1, "1-k": 1},
            "gemodel.one_minus_k: asked 0%, got 100%",
        ),
        ("duplicate", {"duplicate": 0.05}, "duplicate: asked 0.5%, got 5%"),
        ("reorder", {"reorder": 0.5, "correlation": 0.5}, "reorder: asked 5%, got 50%"),
        ("reorder", {"reorder": 0.05, "correlation": 0}, "reorder_correlation: asked 50%, got 0%"),
        ("gap", 4, "gap: asked 3, got 4"),
        ("corrupt", {"corrupt": 0.01}, "corrupt: asked 0.1%, got 1%"),
        ("rate", {"rate": 1}, "rate: asked 12500000 B/s, got 1 B/s"),
        ("limit", 1_000, "limit: asked 50000, got 1000"),
    ],
)
def test_each_option_that_does_not_hold_is_told(key: str, value: Any, said: str) -> None:
    assert tc.differences(PORT, EVERYTHING, shown(**(EVERYTHING_SHOWN | {key: value}))) == [said]


@pytest.mark.parametrize("key", [key for key in EVERYTHING_SHOWN if key != "gap"])
def test_each_option_that_is_missing_is_told(key: str) -> None:
    left = {k: v for k, v in EVERYTHING_SHOWN.items() if k != key}
    assert tc.differences(PORT, EVERYTHING, shown(**left))


def test_what_nobody_asked_for_is_told() -> None:
    loss = {"loss-random": {"loss": 0.01, "correlation": 0}}
    assert tc.differences(PORT, UNIMPAIRED, shown(**loss)) == ["loss: asked 0%, got 1%"]
    model = {"loss-gemodel": {"p": 0.01, "r": 0, "1-h": 0, "1-k": 0}}
    assert tc.differences(PORT, UNIMPAIRED, shown(**model)) == ["gemodel: asked none, got one"]
    shaper = {"kind": "tbf", "dev": "up10", "parent": "1:1", "options": {"rate": 1, "burst": 1}}
    assert tc.differences(PORT, UNIMPAIRED, [*shown(), shaper]) == ["burst: asked none, got a tbf"]
    # Numbers that netem keeps and does not use: a reorder whose gap is 0.
    assert tc.differences(PORT, UNIMPAIRED, shown(reorder={"reorder": 0.05, "correlation": 0.5})) == []


def test_no_netem_or_another_qdisc_is_told() -> None:
    assert tc.differences(PORT, UNIMPAIRED, []) == ["netem: asked on up10, got none"]
    elsewhere = [entry | {"dev": "up11"} for entry in shown()]
    assert tc.differences(PORT, UNIMPAIRED, elsewhere) == ["netem: asked on up10, got none"]


def test_tbf_is_held_to_its_own_precision() -> None:
    asked = Impairment(rate=Rate(10_000_000), burst=Size(20_000))

    def with_tbf(rate: int, burst: int) -> list[dict[str, Any]]:
        options = {"rate": rate, "burst": burst, "lat": 605_472_000}
        return [*shown(), {"kind": "tbf", "dev": "up10", "parent": "1:1", "options": options}]

    assert tc.differences(PORT, asked, with_tbf(1_250_000, 20_000)) == []
    assert tc.differences(PORT, asked, with_tbf(1_250_000, 19_999)) == []  # a tick of 64 ns
    assert tc.differences(PORT, asked, with_tbf(1_250_000, 19_000)) == ["burst: asked 20000B, got 19000B"]
    assert tc.differences(PORT, asked, with_tbf(125_000, 20_000)) == [
        "rate: asked 1250000 B/s, got 125000 B/s"
    ]
    assert tc.differences(PORT, asked, shown())  # none at all


def printed(value: float) -> float:
    """A number after iproute2's JSON writer, `%g`."""
    return float(f"{value:g}")


@settings(max_examples=60)
@given(st.integers(1, 200_000_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_rounding_is_no_difference_and_a_thousandth_is(us: int, loss: int, jitter: int) -> None:
    """tc takes whole µs, netem keeps ticks of 64 ns, tc prints them cut to µs with six digits."""
    share = Percent(Decimal(loss) / 100)
    asked = Impairment(delay=Duration(us * 1_000), jitter=Duration(jitter * 1_000), loss=share)

    def back(microseconds: int) -> float:
        return printed(int(microseconds * 1_000 // 64 * 64 / 1_000) / 1e6)

    kept = round(share.fraction * (2**32 - 1)) / (2**32 - 1)
    got = {
        "delay": {"delay": back(us), "jitter": back(jitter), "correlation": 0},
        "loss-random": {"loss": printed(kept), "correlation": 0},
    }
    assert tc.differences(PORT, asked, shown(**got)) == []
    wrong = got | {"delay": {"delay": back(us + max(5, us // 1_000)), "jitter": back(jitter)}}
    assert len(tc.differences(PORT, asked, shown(**wrong))) == 1


def test_each_impairment_is_read_from_its_own_field() -> None:
    """A key that `differences` forgot would let a falsified link pass."""
    asked = replace(EVERYTHING, mtu=None)
    for name in ("delay", "jitter", "correlation", "duplicate", "reorder", "corrupt", "rate", "gap", "limit"):
        now = getattr(asked, name)
        other: Any
        if isinstance(now, Duration):
            other = Duration(now.ns * 2)
        elif isinstance(now, Percent):
            other = Percent(now.percent / 2)
        elif isinstance(now, Rate):
            other = Rate(now.bits_per_second * 2)
        else:
            other = now + 1
        wrong = tc.differences(PORT, replace(asked, **{name: other}), shown(**EVERYTHING_SHOWN))
        assert [line.split(":")[0] for line in wrong] == [name]


def test_filters_and_counters() -> None:
    down = tc.Port("client", IPv4Address("198.18.7.10"), "down", "down10")
    assert tc.port_filter("eth0", PORT).startswith(
        "filter add dev eth0 ingress protocol ip prio 20000 u32 match ip src 198.18.7.10/32 action mirred"
    )
    assert tc.port_filter("eth0", down).startswith(
        "filter add dev eth0 egress protocol ip prio 20000 u32 match ip dst 198.18.7.10/32 action mirred"
    )
    gact = {"kind": "gact", "index": 1_000, "stats": {"packets": 3, "drops": 3, "overlimits": 0}}
    mirred = {"kind": "mirred", "to_dev": "up10", "stats": {"packets": 9, "overlimits": 4}}
    filters = [
        {"pref": 10, "kind": "u32"},
        {"pref": 10, "kind": "u32", "options": {"actions": [gact]}},
        {"pref": 20_000, "kind": "u32", "options": {"actions": [mirred]}},
    ]
    assert tc.filter_indexes(filters) == {10: 1_000}
    assert tc.redirected(filters) == {"up10": 4}
    assert tc.counted([{"total acts": 1}, {"actions": [gact]}]) == {1_000: 3}
    assert tc.queued(shown()[1]) == tc.Queued(packets=5, bytes=490, dropped=0, waiting=2)
