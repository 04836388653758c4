"""Proof of impairment: a wire that does what it was asked to is believed, one that does not is caught."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lab.evidence.model import LinkProof, WireEvent
from lab.evidence.proof import contradictions, describe, prove
from lab.evidence.store import load_evidence
from lab.evidence.trace import Trace
from lab.link import GilbertElliott, Impairment
from lab.units import Duration, Percent, Size
from tests.unit.evidence_frames import ACK, MS, T0, Net, records_of, side, tcp

STORED = Path(__file__).parent.parent / "data" / "captures"


def run(
    folder: Path,
    count: int,
    delay_ms: Callable[[int], float | None],
    *,
    up: Impairment,
    gap_ms: float = 3,
    size: int = 1,
    end_ms: float = 0,
    events: Iterable[WireEvent] = (),
    steps: Iterable[tuple[str, float, float]] = (),
) -> Trace:
    net = Net()
    for i in range(count):
        segment = tcp(1, 2, i * size, 1, ACK, bytes(size))
        net.packet("client", "server", i * gap_ms, segment, ip_id=i % 65536, delay_ms=delay_ms(i))
    late = end_ms - 1000 if end_ms else count * gap_ms + 500
    net.packet("client", "server", late, tcp(1, 2, 0, 9, ACK), delay_ms=delay_ms(0) or 5)
    records = records_of(up=up, end_ms=late + 1500, events=events, steps=steps)
    return net.trace(folder, records)


def of(trace: Trace, quantity: str) -> LinkProof:
    (proof,) = [p for p in prove(trace) if p.quantity == quantity]
    return proof


@pytest.mark.parametrize("name", sorted(p.name for p in STORED.iterdir()))
def test_no_contradiction_in_the_stored_runs(name: str) -> None:
    trace = load_evidence(STORED / name).trace
    proofs = prove(trace)
    assert {p.quantity for p in proofs} >= {"delay", "loss"}
    assert not contradictions(proofs)
    assert not trace.unexplained()


def test_a_halved_delay_is_caught_from_two_packets_on(tmp_path: Path) -> None:
    wanted = side(delay="20ms")
    proof = of(run(tmp_path, 1, lambda i: 10.2, up=wanted), "delay")
    assert (proof.verdict, proof.samples) == ("contradiction", 2)
    assert (proof.source, proof.target, proof.direction) == ("client", None, "up")
    assert describe(proof) == (
        "client.up: delay configured 20ms, measured 10.2 ms (p5 10.2 ms … p95 10.2 ms) over 2 packets:"
        " contradiction"
    )
    assert of(run(tmp_path, 1, lambda i: 20.2, up=wanted), "delay").verdict == "ok"


def test_noise_of_the_machine_is_not_a_contradiction(tmp_path: Path) -> None:
    rng = random.Random(1)
    late = run(tmp_path, 200, lambda i: 20 + rng.expovariate(1 / 5), up=side(delay="20ms"))
    assert of(late, "delay").verdict == "ok"
    # a timer that is early once in a while, by as much as it likes
    early = run(tmp_path, 2000, lambda i: 2 if i in (5, 900) else 20.1, up=side(delay="20ms"))
    assert of(early, "delay").verdict == "ok"


def test_a_delay_that_all_packets_exceed_is_caught(tmp_path: Path) -> None:
    assert of(run(tmp_path, 20, lambda i: 40.0, up=side(delay="20ms")), "delay").verdict == "contradiction"
    limited = side(delay="20ms", rate="1mbit")
    assert of(run(tmp_path, 20, lambda i: 40.0, up=limited), "delay").verdict == "ok"  # it may have queued
    assert of(run(tmp_path, 20, lambda i: 12.0, up=Impairment()), "delay").verdict == "contradiction"


def test_one_stall_makes_a_whole_burst_late_and_proves_nothing(tmp_path: Path) -> None:
    """The 45 fragments of a datagram arrived 12.8 ms late, all of them, on a machine with a load of 11."""
    assert of(run(tmp_path, 45, lambda i: 12.8, up=Impairment(), gap_ms=0.01), "delay").verdict == "ok"


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_jitter(tmp_path: Path, distribution: str) -> None:
    rng = random.Random(2)
    wanted = side(delay="20ms", jitter="5ms", distribution=distribution)

    def draw(mean: float) -> Callable[[int], float]:
        return lambda i: mean + (rng.uniform(-5, 5) if distribution == "uniform" else rng.gauss(0, 4.9))

    for _ in range(8):
        assert of(run(tmp_path, 100, draw(20.1), up=wanted), "delay").verdict == "ok"
    assert of(run(tmp_path, 100, draw(10.1), up=wanted), "delay").verdict == "contradiction"


def test_loss(tmp_path: Path) -> None:
    rng = random.Random(3)
    wanted = side(loss="5%")

    def drop(share: float) -> Callable[[int], float | None]:
        return lambda i: None if i and rng.random() < share else 1.0

    proof = of(run(tmp_path, 2000, drop(0.05), up=wanted), "loss")
    assert proof.verdict == "ok"
    assert proof.spread.startswith("99.9 % interval 3")
    assert of(run(tmp_path, 2000, drop(0.0), up=wanted), "loss").verdict == "contradiction"
    assert of(run(tmp_path, 2000, drop(0.1), up=wanted), "loss").verdict == "contradiction"
    assert of(run(tmp_path, 100, drop(0.0), up=wanted), "loss").verdict == "too few"
    assert of(run(tmp_path, 100, drop(0.05), up=Impairment()), "loss").verdict == "contradiction"
    assert of(run(tmp_path, 100, drop(0.0), up=Impairment()), "loss").verdict == "ok"


def test_bursty_loss_is_not_held_against_a_binomial(tmp_path: Path) -> None:
    rng = random.Random(4)
    p, r = Percent.parse("1%"), Percent.parse("10%")
    model = GilbertElliott(p, r, Percent.parse("100%"), Percent.parse("0%"))
    wanted = Impairment(gemodel=model)
    for _ in range(2):
        bad = False

        def drop(i: int) -> float | None:
            nonlocal bad
            bad = rng.random() >= 0.1 if bad else rng.random() < 0.01
            return None if bad and i else 1.0

        assert of(run(tmp_path, 2000, drop, up=wanted), "loss").verdict in ("ok", "too few")
    assert of(run(tmp_path, 4000, lambda i: 1.0, up=wanted), "loss").verdict == "contradiction"


def queued(limit: int, gap_ms: float, size: int = 1000) -> Callable[[int], float]:
    """Delays in a queue of `limit` bit/s into which frames of `size` bytes come every `gap_ms`."""
    free = 0.0

    def delay(i: int) -> float:
        nonlocal free
        if i == 0:
            free = 0.0
        free = max(free, i * gap_ms) + size * 8e3 / limit
        return free - i * gap_ms

    return delay


def test_rate(tmp_path: Path) -> None:
    wanted = side(rate="1mbit")
    size = 1000 - 54

    def verdict(limit: int, gap_ms: float, up: Impairment = wanted) -> LinkProof:
        trace = run(tmp_path, 200, queued(limit, gap_ms), up=up, gap_ms=gap_ms, size=size, end_ms=60_000)
        return of(trace, "rate")

    full = verdict(1_000_000, 4)
    assert (full.verdict, full.measured) == ("ok", "1 Mbit/s")
    assert full.spread == "while full: 200 packets in 1.59 s"
    assert verdict(2_000_000, 2).verdict == "contradiction"
    assert verdict(1_000_000_000, 30).verdict == "contradiction"  # never full, but no time to send either
    assert verdict(1_000_000, 30).verdict == "too few"
    bursty = Impairment(rate=wanted.rate, burst=Size(1_000_000))
    assert verdict(2_000_000, 2, bursty).verdict == "ok"
    jittery = side(rate="1mbit", delay="0ms", jitter="20ms")
    assert verdict(1_000_000, 4, jittery).verdict == "ok"


def test_a_wire_that_stood_still_may_catch_up(tmp_path: Path) -> None:
    delay = queued(1_000_000, 4)

    def stalled(i: int) -> float:
        arrives = i * 4 + delay(i)
        return (800.0 if 400 < arrives < 800 else arrives) - i * 4

    wanted = side(rate="1mbit")
    assert (
        of(run(tmp_path, 200, stalled, up=wanted, gap_ms=4, size=946, end_ms=60_000), "rate").verdict == "ok"
    )


def test_reorder_is_what_was_sent_at_once(tmp_path: Path) -> None:
    rng = random.Random(5)
    wanted = side(delay="10ms", reorder="25%")
    good = run(tmp_path, 400, lambda i: 0.2 if rng.random() < 0.25 else 10.1, up=wanted)
    assert of(good, "reorder").verdict == "ok"
    assert of(good, "delay").verdict == "ok"
    assert of(run(tmp_path, 400, lambda i: 10.1, up=wanted), "reorder").verdict == "contradiction"


def test_a_link_that_changes_is_proven_for_each_part(tmp_path: Path) -> None:
    event = WireEvent(
        T0 + 610 * MS,
        "link",
        "faster",
        host="client",
        direction="up",
        impairment=Impairment(Duration(5 * MS)),
    )
    events, steps = [event], [("faster", 590.0, 610.0)]
    good = run(
        tmp_path,
        300,
        lambda i: 20.1 if 3 * i < 600 else 5.1,
        up=side(delay="20ms"),
        events=events,
        steps=steps,
    )
    proofs = [p for p in prove(good) if p.quantity == "delay"]
    assert [(p.configured, p.verdict, p.detail) for p in proofs] == [
        ("20ms", "ok", ""),
        ("5ms", "ok", "since faster"),
    ]
    bad = run(tmp_path, 300, lambda i: 20.1, up=side(delay="20ms"), events=events, steps=steps)
    assert [p.verdict for p in prove(bad) if p.quantity == "delay"] == ["ok", "contradiction"]


def test_both_sides_delayed_is_told_for_the_path(tmp_path: Path) -> None:
    net = Net()
    for i in range(5):
        net.packet("client", "server", i, tcp(1, 2, i, 1, ACK, b"x"), delay_ms=15.1)
    trace = net.trace(tmp_path, records_of(up=side(delay="10ms"), down=side(delay="5ms")))
    proof = of(trace, "delay")
    assert (proof.source, proof.target, proof.direction) == ("client", "server", None)
    assert (proof.configured, proof.verdict) == ("10ms + 5ms", "ok")
