"""Durations, rates, sizes and percentages: parsed with a unit, without loss, printed canonically.

The words of tc are elsewhere (`lab.wire.tc`); these are the words of a scenario.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Self

from msgspec import Struct

from lab.errors import UnitError

_NUMBER = re.compile(r"(?P<number>[0-9]{1,24}(?:\.[0-9]{1,24})?)(?P<unit>[A-Za-z%]*)\Z")

_LONGEST = 40  #: characters of a quantity: 10^20 ns are 3,000 years
MOST = 2**63 - 1  #: bytes, bits per second, nanoseconds: the kernel's numbers have 64 bits
_THREE = Decimal("0.001")
_EXACT = Context(prec=2 * _LONGEST)  #: the default one rounds a product to 28 digits, and sees nothing lost


def _split(text: str, what: str, units: dict[str, int]) -> tuple[Decimal, int]:
    allowed = ", ".join(units)
    if len(text) > _LONGEST:
        raise UnitError(f"{text[:20]!r}… has {len(text):,} characters, more than any {what} needs")
    match = _NUMBER.match(text.strip())
    if match is None:
        raise UnitError(f"{text!r} is not a {what}: a number and one of {allowed}, like {_EXAMPLES[what]}")
    unit = match["unit"]
    if not unit:
        raise UnitError(
            f"{text!r} has no unit: a {what} is a number and one of {allowed}, like {_EXAMPLES[what]}"
        )
    if unit not in units:
        raise UnitError(f"{text!r}: unknown unit {unit!r}: a {what} takes one of {allowed}")
    return Decimal(match["number"]), units[unit]


def _whole(number: Decimal, factor: int, text: str, what: str, smallest: str) -> int:
    value = _EXACT.multiply(number, Decimal(factor))
    if value > MOST:
        raise UnitError(f"{text!r} is too much: a {what} is at most {MOST:,} times {smallest}")
    if value != value.to_integral_value():
        raise UnitError(f"{text!r} is finer than {smallest}, the smallest {what}")
    return int(value)


def _canonical(value: int, units: dict[str, int]) -> str:
    """The largest unit that shows `value` exactly with at most three decimals."""
    for unit, factor in reversed(units.items()):
        scaled = _EXACT.divide(Decimal(value), Decimal(factor))
        if abs(scaled) >= 1 and scaled == scaled.quantize(_THREE, context=_EXACT):
            return f"{scaled.normalize():f}{unit}"
    smallest = next(iter(units))
    return f"{value}{smallest}"


LONGEST_NS = 20 * 86_400 * 10**9  #: 20 days: poll(2) takes milliseconds in 31 bits
_DURATIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}
_RATES = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
_SIZES = {"B": 1, "kB": 1_000, "KiB": 1_024, "MB": 1_000_000, "MiB": 1_048_576, "GB": 10**9, "GiB": 2**30}
_MOST_TRIPS = 1_000
_EXAMPLES = {
    "duration": "5ms or 1.5s",
    "rate": "10mbit",
    "size": "64kB or 64KiB",
    "percentage": "0.5%",
    "round-trip time": "1.5rtt",
}


class Duration(Struct, frozen=True, order=True):
    """A length of time in whole nanoseconds."""

    ns: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`250us`, `5ms`, `1.5s`, `2m`. Raises `UnitError`."""
        number, factor = _split(text, "duration", _DURATIONS)
        ns = _whole(number, factor, text, "duration", "1ns")
        if ns > LONGEST_NS:
            raise UnitError(f"{text!r} is too long: a duration is at most 20 days, {LONGEST_NS // 10**9}s")
        return cls(ns)

    @classmethod
    def of_seconds(cls, seconds: float) -> Self:
        return cls(round(seconds * 1e9))

    @property
    def seconds(self) -> float:
        return self.ns / 1e9

    def __str__(self) -> str:
        return _canonical(self.ns, {k: v for k, v in _DURATIONS.items() if k != "m"}) if self.ns else "0s"


class RoundTrips(Struct, frozen=True, order=True):
    """A multiple of the configured round trip of two hosts: `1rtt`, `1.5rtt`."""

    factor: Decimal

    @classmethod
    def parse(cls, text: str) -> Self:
        number, _ = _split(text, "round-trip time", {"rtt": 1})
        if number > _MOST_TRIPS:
            raise UnitError(f"{text!r} is too much: at most {_MOST_TRIPS}rtt")
        return cls(number)

    def of(self, rtt: Duration) -> Duration:
        return Duration(round(self.factor * rtt.ns))

    def __str__(self) -> str:
        return f"{self.factor.normalize():f}rtt"


class Rate(Struct, frozen=True, order=True):
    """Bits per second."""

    bits_per_second: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`64kbit`, `10mbit`, `1gbit`. Raises `UnitError`."""
        number, factor = _split(text, "rate", _RATES)
        return cls(_whole(number, factor, text, "rate", "1bit"))

    def __str__(self) -> str:
        return _canonical(self.bits_per_second, _RATES)


class Size(Struct, frozen=True, order=True):
    """Bytes."""

    bytes: int

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """A plain integer is bytes; else `64kB`, `1MB` (decimal), `64KiB`, `1MiB`. Raises `UnitError`."""
        if isinstance(text, int):
            return cls(_whole(Decimal(text), 1, str(text), "size", "1B"))
        if len(text) <= _LONGEST and re.fullmatch(r"[0-9]+", text.strip()):
            return cls(_whole(Decimal(text), 1, text, "size", "1B"))
        number, factor = _split(text, "size", _SIZES)
        return cls(_whole(number, factor, text, "size", "1B"))

    def __str__(self) -> str:
        return _canonical(self.bytes, {k: v for k, v in _SIZES.items() if not k.endswith("iB")})


class Percent(Struct, frozen=True, order=True):
    """A share from 0 % to 100 %; `fraction` is 0 to 1. Raises `ValueError` for any other number."""

    percent: Decimal

    def __post_init__(self) -> None:
        if not self.percent.is_finite() or not 0 <= self.percent <= 100:
            raise ValueError("a share is 0 to 100 percent")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`1%`, `0.5%`. Raises `UnitError`."""
        number, _ = _split(text, "percentage", {"%": 1})
        if number > 100:
            raise UnitError(f"{text!r} is more than 100%")
        return cls(number)

    @property
    def fraction(self) -> float:
        return float(self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent.normalize():f}%"
