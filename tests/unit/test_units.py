"""Quantities: what parses, what is refused and with which words, and that nothing is lost on the way."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UnitError
from lab.units import Duration, Percent, Rate, RoundTrips, Size


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("250us", 250_000),
        ("5ms", 5_000_000),
        ("1.5s", 1_500_000_000),
        ("2m", 120 * 10**9),
        ("0s", 0),
        ("7ns", 7),
    ],
)
def test_duration(text: str, ns: int) -> None:
    assert Duration.parse(text).ns == ns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5", "'5' has no unit"),
        ("5 ms", "'5 ms' is not a duration"),
        ("-5ms", "'-5ms' is not a duration"),
        (".5s", "'.5s' is not a duration"),
        ("5sec", "unknown unit 'sec'"),
        ("0.5ns", "finer than 1ns"),
        ("", "'' is not a duration"),
    ],
)
def test_no_duration(text: str, said: str) -> None:
    with pytest.raises(UnitError, match=said.replace(".", r"\.")):
        Duration.parse(text)


@given(st.integers(0, 10**15))
def test_duration_survives_its_text(ns: int) -> None:
    assert Duration.parse(str(Duration(ns))).ns == ns


@given(st.integers(1, 10**13))
def test_rate_survives_its_text(bits: int) -> None:
    assert Rate.parse(str(Rate(bits))).bits_per_second == bits


@given(st.integers(1, 10**13))
def test_size_survives_its_text(count: int) -> None:
    assert Size.parse(str(Size(count))).bytes == count


@pytest.mark.parametrize(
    ("text", "bits"), [("64kbit", 64_000), ("10mbit", 10**7), ("1gbit", 10**9), ("5bit", 5)]
)
def test_rate(text: str, bits: int) -> None:
    assert Rate.parse(text).bits_per_second == bits


@pytest.mark.parametrize("text", ["10", "10mbps", "10Mbit", "1.5bit", "10 mbit"])
def test_no_rate(text: str) -> None:
    with pytest.raises(UnitError):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (1000, 1000),
        ("1000", 1000),
        ("64kB", 64_000),
        ("1MB", 10**6),
        ("64KiB", 65_536),
        ("1MiB", 2**20),
        ("1.5kB", 1500),
    ],
)
def test_size(text: str | int, count: int) -> None:
    assert Size.parse(text).bytes == count


@pytest.mark.parametrize("text", ["1k", "1kb", "1.5B", "x"])
def test_no_size(text: str) -> None:
    with pytest.raises(UnitError):
        Size.parse(text)


@pytest.mark.parametrize(("text", "fraction"), [("0%", 0.0), ("0.5%", 0.005), ("100%", 1.0)])
def test_percent(text: str, fraction: float) -> None:
    assert Percent.parse(text).fraction == fraction
    assert str(Percent.parse(text)) == text


@pytest.mark.parametrize("text", ["101%", "1", "-1%", "1 %", "0.01"])
def test_no_percent(text: str) -> None:
    with pytest.raises(UnitError):
        Percent.parse(text)


def test_round_trips() -> None:
    assert RoundTrips.parse("1.5rtt").factor == Decimal("1.5")
    assert RoundTrips.parse("1.5rtt").of(Duration.parse("20ms")) == Duration.parse("30ms")
    assert str(RoundTrips.parse("2rtt")) == "2rtt"
