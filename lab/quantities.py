"""Quantities as people read them, in reports, findings and proofs; `lab.units` prints what is configured."""

from __future__ import annotations


def duration(ns: float) -> str:
    """Three significant digits: `640 ns`, `12.4 µs`, `40.6 ms`, `3.05 s`, `2 min 11.4 s`."""
    sign, size = ("-", -ns) if ns < 0 else ("", ns)
    if size < 1_000:
        return f"{sign}{size:.0f} ns" if size else "0 s"
    for factor, unit in ((1e3, "µs"), (1e6, "ms")):
        if size < factor * 999.5:
            return f"{sign}{_digits(size / factor)} {unit}"
    seconds = size / 1e9
    if seconds < 119.95:
        return f"{sign}{_digits(seconds)} s"
    return f"{sign}{int(seconds // 60)} min {seconds % 60:.1f} s"


def seconds(value: float) -> str:
    """As `duration`, from seconds."""
    return duration(round(value * 1e9))


def moment(ns: int) -> str:
    """A time on an axis, fine enough to tell neighbours apart: `0.31 ms`, `110.20 ms`, `3.4205 s`."""
    sign, size = ("-", -ns) if ns < 0 else ("", ns)
    if not size:
        return "0"
    return f"{sign}{size / 1e6:.2f} ms" if size < 999_995_000 else f"{sign}{size / 1e9:.4f} s"


def clock(ns: int) -> str:
    """A moment since the zero of a case, in seconds to the microsecond where it matters: `0.005214 s`."""
    return f"{ns / 1e9:.6f} s"


def size(count: int) -> str:
    """Bytes: `11 B`, `1,448 B`, `64 kB`, `200 MB`."""
    return f"{count:,} B" if count < 10_000 else _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def rate(bits_per_second: float) -> str:
    """`9.61 Mbit/s`."""
    return _scaled(bits_per_second, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"))


def percentage(part: float) -> str:
    """A part of 1: `0.5 %`, `33.3 %`."""
    return f"{part * 100:.3g} %"


def plural(number: int, noun: str, many: str = "") -> str:
    """`1 packet`, `2,048 packets`, `no packets`."""
    word = noun if number == 1 else many or f"{noun}s"
    return f"{number:,} {word}" if number else f"no {word}"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Three significant digits, in the unit in which the value is below 1,000."""
    for unit in units[:-1]:
        if value < 999.5:
            return f"{_digits(value)} {unit}"
        value /= 1000
    return f"{_digits(value)} {units[-1]}"


def _digits(value: float) -> str:
    text = f"{value:.{max(0, 3 - len(str(int(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
