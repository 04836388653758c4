"""How accurate the wire is: configured against measured round trips, loss, directions and bulk transfer.

    .venv/bin/python -m benchmarks.fidelity [--wire auto|kernel|uml] [--packets 5000] [--bytes 200000000]

Exit status: 0 all held, 1 something is outside its bounds, 3 the wire itself lost packets (overloaded).
Best on an idle machine: other work delays packets, and the medians show it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from benchmarks.pair import Pair, result, wired_pair
from lab.engine.images import ensure_images
from lab.engine.private import find_engine
from lab.errors import LabError
from lab.link import Impairment, Link
from lab.stats import expected_range
from lab.units import Duration, Percent

RTTS_MS = (10, 50, 200)
LOSSES = (Decimal(1), Decimal(5), Decimal(20))
#: How far the median round trip may be from the configured one.
RTT_BOUND_MS = 1.0
ECHO_PORT, BULK_PORT = 8_000, 8_001
MS = 1_000_000


@dataclass(frozen=True)
class Line:
    """One measurement."""

    what: str
    configured: str
    measured: str
    bounds: str
    held: bool

    def __str__(self) -> str:
        sign = "ok  " if self.held else "OUT "
        return f"{sign} {self.what:<28} {self.configured:>12} {self.measured:>34}   {self.bounds}"


def ms(value: float) -> Duration:
    return Duration(round(value * MS))


def round_trips(pair: Pair, rtt_ms: int) -> Line:
    """Measures round trips with half the delay each way, for about six seconds."""
    half = Impairment(delay=ms(rtt_ms / 2))
    pair.through.change("client", Link(half, half))
    number = min(500, 6_000 // (rtt_ms + 2))
    port = ECHO_PORT + rtt_ms
    echo = pair.probe("server", "echo", port)
    pair.hosts["server"].wait_for(30.0, listening=port, kind="udp")
    times = result(pair.probe("client", "rtt", pair.addresses["server"], port, number, 0.002))["rtt"]
    result(echo)
    ordered = sorted(value / MS for value in times)
    median = statistics.median(ordered)
    low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
    return Line(
        f"{len(ordered)} round trips",
        f"{rtt_ms} ms",
        f"{median:.2f} ms (p5 {low:.2f}, p95 {high:.2f})",
        f"median within {RTT_BOUND_MS:g} ms",
        abs(median - rtt_ms) <= RTT_BOUND_MS,
    )


def loss(pair: Pair, percent: Decimal, packets: int) -> Line:
    pair.through.change("client", Link(up=Impairment(loss=Percent(percent))))
    found = pair.datagrams(packets, interval=0.0002)
    return _rate(f"loss up, {packets} packets", percent, packets, packets - len(found["arrived"]))


def _rate(what: str, percent: Decimal, packets: int, lost: int) -> Line:
    low, high = expected_range(packets, float(percent) / 100)
    return Line(
        what,
        f"{percent} %",
        f"{100 * lost / packets:.2f} % ({lost} lost)",
        f"{low} to {high} lost (99.9 %)",
        low <= lost <= high,
    )


def directions(pair: Pair, packets: int) -> list[Line]:
    """Measures a different delay and loss in each direction: neither may affect the other."""
    up, down = Impairment(delay=ms(30), loss=Percent(Decimal(20))), Impairment(delay=ms(5))
    pair.through.change("client", Link(up, down))
    lines = []
    ways: list[tuple[str, str, str, Impairment]] = [
        ("up", "client", "server", up),
        ("down", "server", "client", down),
    ]
    for name, source, target, asked in ways:
        found = pair.datagrams(packets, interval=0.0002, source=source, target=target)
        percent = asked.loss.percent if asked.loss else Decimal(0)
        lines.append(_rate(f"{name} alone, loss", percent, packets, packets - len(found["arrived"])))
        assert asked.delay is not None
        one_way = statistics.median(_one_way(found))
        lines.append(
            Line(
                f"{name} alone, delay",
                str(asked.delay),
                f"{one_way:.2f} ms",
                f"median within {RTT_BOUND_MS:g} ms",
                abs(one_way - asked.delay.ns / MS) <= RTT_BOUND_MS,
            )
        )
    return lines


def _one_way(found: dict[str, Any]) -> list[float]:
    return [(when - found["sent"][number]) / MS for number, when in found["arrived"]]


def bulk(pair: Pair, size: int) -> tuple[float, int]:
    """Mbit/s of one TCP stream from client to server, and its retransmitted segments."""
    before = pair.hosts["client"].counters()["TcpRetransSegs"]
    take = pair.probe("server", "take", BULK_PORT)
    pair.hosts["server"].wait_for(30.0, listening=BULK_PORT)
    result(pair.probe("client", "bulk", pair.addresses["server"], BULK_PORT, size))
    took = result(take)
    assert took["bytes"] == size
    return size * 8 / (took["ns"] / 1e9) / 1e6, pair.hosts["client"].counters()["TcpRetransSegs"] - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--wire", choices=["auto", "kernel", "uml"], default="auto")
    parser.add_argument("--packets", type=int, default=5_000)
    parser.add_argument("--bytes", type=int, default=200_000_000)
    arguments = parser.parse_args()
    packets: int = arguments.packets
    size: int = arguments.bytes

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    engine = find_engine(say)
    images = ensure_images(engine, say)
    lines: list[Line] = []

    def show(line: Line) -> None:
        lines.append(line)
        print(line, flush=True)

    with wired_pair(engine, images, wired=False) as pair:
        plain, _ = bulk(pair, size)
    with wired_pair(engine, images, kind=arguments.wire) as pair:
        hello = pair.through.hello
        print(f"wire {hello.kind} ({hello.kernel}): {hello.reason}")
        for rtt_ms in RTTS_MS:
            show(round_trips(pair, rtt_ms))
        for percent in LOSSES:
            show(loss(pair, percent, packets))
        for line in directions(pair, packets):
            show(line)
        pair.through.change("client", Link())
        rate, again = bulk(pair, size)
        overruns = pair.through.overruns()
        lost = sum(queue.queue_full for queue in pair.through.counters()[1])
        show(
            Line(
                f"bulk, {size // 1_000_000} MB, no loss set",
                "0 again",
                f"{again} sent again, {rate:.0f} Mbit/s",
                f"plain veth: {plain:.0f} Mbit/s",
                again == 0 and lost == 0,
            )
        )
    if overruns:
        print(f"the wire was overloaded and lost packets itself: {overruns}")
        return 3
    return 0 if all(line.held for line in lines) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"{error}\n{error.hint}".strip(), file=sys.stderr)
        sys.exit(error.exit_code)
