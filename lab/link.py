"""What a link does to packets: the typed form of SCENARIO's link keys, free of YAML and of tc."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from lab.units import Duration, Percent, Rate, Size

Direction = Literal["up", "down"]  #: up: host → network; down: network → host
Distribution = Literal["uniform", "normal", "pareto", "paretonormal"]


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """netem's `gemodel`: p good→bad, r bad→good, 1-h loss in bad, 1-k loss in good."""

    p: Percent
    r: Percent
    one_minus_h: Percent
    one_minus_k: Percent


@dataclass(frozen=True, slots=True)
class Impairment:
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
    gap: int | None = None
    corrupt: Percent | None = None
    rate: Rate | None = None
    burst: Size | None = None
    limit: int | None = None  #: packets in the queue; None is 10,000 or more
    mtu: int | None = None  #: bytes of an IP packet

    def changed(self, other: Impairment) -> Impairment:
        """This one with all that `other` names (is not None).

        `loss` and `gemodel` are two models of one thing: the one that is named takes the place of the other.
        """
        named = {f.name: value for f in fields(other) if (value := getattr(other, f.name)) is not None}
        if other.gemodel is not None:
            named |= {"loss": None, "loss_correlation": None}
        elif other.loss is not None:
            named |= {"gemodel": None}
        return replace(self, **named)

    @property
    def active(self) -> bool:
        return any(getattr(self, f.name) is not None for f in fields(self))


UNIMPAIRED = Impairment()


@dataclass(frozen=True, slots=True)
class Link:
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
