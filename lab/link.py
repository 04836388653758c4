"""What a link does to packets: each option, its type, the options it needs, the values a kernel can hold.

`lab.scenario.links` makes the YAML keys, their rules and their JSON Schema from this, and `lab.wire.tc` the
words of tc. This module depends on neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from lab.units import Duration, Percent, Rate, Size

Direction = Literal["up", "down"]  #: up: host → network; down: network → host
DIRECTIONS: tuple[Direction, ...] = ("up", "down")
Distribution = Literal["uniform", "normal", "pareto", "paretonormal"]

#: ns of the clock of tc.
TICK = 64
#: netem and tbf keep a time in 32 bits of ticks; tc refuses a longer one: "Illegal time (too large)".
LONGEST = Duration(274_000_000_000)
#: netem keeps the jitter in 31 bits of ns, and silently truncates a longer one.
LONGEST_JITTER = Duration(2_147_000_000)
#: netem keeps a probability as a fraction of this.
CERTAIN = 2**32 - 1
#: tc keeps the bytes of a burst in 32 bits.
LARGEST_BURST = Size(2**32 - 1)
#: tc keeps bytes per second in 64 bits.
FASTEST = Rate(8 * (2**63 - 1))
#: Packets of one drop rule: each ten are a line of a chain that every packet walks.
LARGEST_DROP = 10_000
#: Bytes of an IP packet where no `mtu` is given, and of the Ethernet header that netem and tbf count too.
FULL, HEADER = 1_500, 14


_ALL, _NONE = Percent(Decimal(100)), Percent(Decimal(0))


class GilbertElliott(Struct, frozen=True):
    """netem's `gemodel`: p good→bad, r bad→good, 1-h loss in bad, 1-k loss in good."""

    p: Percent
    r: Percent
    one_minus_h: Percent = _ALL
    one_minus_k: Percent = _NONE


class Impairment(Struct, frozen=True):
    """One direction of one host's link. None: not impaired in that way."""

    delay: Duration | None = None
    jitter: Duration | None = None
    correlation: Percent | None = None
    distribution: Distribution | None = None
    loss: Percent | None = None
    loss_correlation: Percent | None = None
    gemodel: GilbertElliott | None = None
    duplicate: Percent | None = None
    reorder: Percent | None = None
    reorder_correlation: Percent | None = None
    gap: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    corrupt: Percent | None = None
    rate: Rate | None = None
    burst: Size | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None  #: packets; None is 10,000 or more
    mtu: Annotated[int, Meta(ge=68, le=65_535)] | None = None  #: bytes of an IP packet

    def changed(self, other: Impairment) -> Impairment:
        """This impairment with every option of `other` that is not None.

        `loss` and `gemodel` are two models of one thing: the one that `other` names replaces the other one.
        """
        named = other.given()
        if other.gemodel is not None:
            named |= {"loss": None, "loss_correlation": None}
        elif other.loss is not None:
            named |= {"gemodel": None}
        return replace(self, **named)

    def given(self) -> dict[str, Any]:
        """The options that are not None, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class Need(Struct, frozen=True):
    """An option that means nothing without another one."""

    option: str
    other: str
    why: str = ""
    above_zero: bool = False  #: the other must not be zero either, unless this one is

    def __str__(self) -> str:
        return f"{self.option} needs {self.other}" + (f": {self.why}" if self.why else "")


NEEDS = (
    Need("jitter", "delay", "jitter varies a delay"),
    Need("correlation", "jitter", "it is the correlation of the jitter"),
    Need("distribution", "jitter", "it is the distribution of the jitter"),
    Need("loss_correlation", "loss"),
    Need("reorder", "delay", "a reordered packet is one that skips the delay", above_zero=True),
    Need("reorder_correlation", "reorder"),
    Need("gap", "reorder"),
    Need("burst", "rate"),
)
#: Options that exclude each other, and why.
EXCLUSIVE = (("loss", "gemodel"), "one says how packets are lost")


def unfit(option: str, value: object) -> str:
    """Why tc and netem cannot hold this value as it is; "" where they can."""
    if isinstance(value, Duration):
        most = LONGEST_JITTER if option == "jitter" else LONGEST
        if value > most:
            return f"{option} {value} is more than netem holds: {most} at most"
        near = (Duration(ns) for ns in _around(value.ns, 1_000))
        if value.ns % 1_000:
            return f"{option} {value}: tc takes whole microseconds, so write {' or '.join(map(str, near))}"
    elif isinstance(value, Rate):
        if value > FASTEST:
            return f"{option} {value} is more than tc holds: {FASTEST} at most"
        rates = (Rate(bits) for bits in _around(value.bits_per_second, 8) if bits)
        if value.bits_per_second % 8:
            return f"{option} {value}: tc takes whole bytes a second, so write {' or '.join(map(str, rates))}"
    elif isinstance(value, Percent):
        share = value.percent / 100 * CERTAIN
        if 0 < share < 1:
            return f"{option} {value} is less than netem's smallest share, 1 of 2^32: write 0% or 0.0000001%"
        if CERTAIN - 1 < share < CERTAIN:
            return f"{option} {value} is closer to 100% than shares of 2^32 allow: write 100% or 99.9999999%"
    elif isinstance(value, Size) and value > LARGEST_BURST:
        return f"{option} {value} is more than tc holds: {LARGEST_BURST.bytes:,} bytes at most"
    return ""


def _around(value: int, step: int) -> tuple[int, int]:
    """The multiples of a step on both sides of a value."""
    low = value // step * step
    return low, low + step


def problems(asked: Impairment) -> list[str]:
    """What a kernel would refuse or silently change, in the scenario's words; empty if nothing."""
    given = asked.given()
    found = [text for option, value in given.items() if (text := unfit(option, value))]
    if asked.gemodel is not None:
        shares = ((name, getattr(asked.gemodel, name)) for name in asked.gemodel.__struct_fields__)
        found += [text for name, share in shares if (text := unfit(f"gemodel.{name}", share))]
    exclusive, why = EXCLUSIVE
    if all(option in given for option in exclusive):
        found.append(f"{' and '.join(exclusive)} exclude each other: {why}")
    return [*found, *_needs(given), *_burst(asked)]


def _needs(given: dict[str, Any]) -> Iterator[str]:
    for need in NEEDS:
        if need.option in given and need.other not in given:
            yield str(need)
        elif need.above_zero and on(given.get(need.option)) and not on(given[need.other]):
            yield f"{need.option} {given[need.option]} needs a {need.other} above 0: {need.why}"


def _burst(asked: Impairment) -> Iterator[str]:
    if asked.burst is None or asked.rate is None:
        return
    full = (FULL if asked.mtu is None else asked.mtu) + HEADER
    if asked.burst.bytes < full:
        yield (
            f"burst {asked.burst} is less than one packet of {full:,} bytes with its Ethernet header: "
            "no full packet would ever pass"
        )
    elif burst_ns(asked.burst, asked.rate) > LONGEST.ns:
        yield (
            f"burst {asked.burst} takes {asked.burst.bytes * 8 / asked.rate.bits_per_second:,.0f} s at rate "
            f"{asked.rate}, and tbf holds {LONGEST} at most: write a smaller burst"
        )


def burst_ns(burst: Size, rate: Rate) -> int:
    """How long a burst takes at its rate, in steps of `TICK`, as tbf keeps it: rounded up."""
    return -(-burst.bytes * 8_000_000_000 // (rate.bits_per_second * TICK)) * TICK


def on(value: object) -> bool:
    """Given, and not zero."""
    if isinstance(value, Duration):
        return value.ns > 0
    if isinstance(value, Percent):
        return value.percent > 0
    return value is not None


UNIMPAIRED = Impairment()


class Link(Struct, frozen=True):
    """Both directions of one host's access link."""

    up: Impairment = UNIMPAIRED
    down: Impairment = UNIMPAIRED

    def side(self, direction: Direction) -> Impairment:
        return self.up if direction == "up" else self.down


PLAIN = Link()  #: a link that impairs nothing


def one_way_delay(source: Link, target: Link) -> Duration:
    """Configured delay from one host to another: up of the sender and down of the receiver, in series."""
    return Duration(sum(side.delay.ns for side in (source.up, target.down) if side.delay is not None))


def round_trip(a: Link, b: Link) -> Duration:
    """Configured round trip of a pair of hosts."""
    return Duration(one_way_delay(a, b).ns + one_way_delay(b, a).ns)
