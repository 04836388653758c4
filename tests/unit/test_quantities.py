"""lab.quantities: how people read times, sizes, rates and shares."""

from __future__ import annotations

import pytest

from lab.quantities import clock, duration, moment, percentage, plural, rate, seconds, size


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 s"),
        (812, "812 ns"),
        (1_500, "1.5 µs"),
        (12_400, "12.4 µs"),
        (999_499, "999 µs"),
        (999_949, "1 ms"),
        (5_310_000, "5.31 ms"),
        (40_637_218, "40.6 ms"),
        (999_800_000, "1 s"),
        (3_052_000_000, "3.05 s"),
        (131_000_000_000, "2 min 11.0 s"),
        (-6_000_000, "-6 ms"),
    ],
)
def test_durations(ns: int, text: str) -> None:
    assert duration(ns) == text
    assert seconds(ns / 1e9) == text


def test_moments_tell_neighbours_apart() -> None:
    times = (0, 310_000, 3_420_500_000, -2_000_000)
    assert [moment(ns) for ns in times] == ["0", "0.31 ms", "3.4205 s", "-2.00 ms"]
    assert clock(5_214_000) == "0.005214 s"


def test_sizes_rates_shares_and_counts() -> None:
    sizes = (11, 1448, 64_000, 999_600, 200_000_000, 3 * 10**12)
    assert [size(n) for n in sizes] == ["11 B", "1,448 B", "64 kB", "1 MB", "200 MB", "3 TB"]
    rates = (0, 800.0, 9.61e6, 2e9)
    assert [rate(n) for n in rates] == ["0 bit/s", "800 bit/s", "9.61 Mbit/s", "2 Gbit/s"]
    assert [percentage(part) for part in (0, 0.005, 1 / 3, 1)] == ["0 %", "0.5 %", "33.3 %", "100 %"]
    assert [plural(n, "packet") for n in (0, 1, 2048)] == ["no packets", "1 packet", "2,048 packets"]
    assert plural(2, "reply", "replies") == "2 replies"
