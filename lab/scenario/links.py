"""The link keys of a scenario, and what they make of a `lab.link.Link`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import WithJsonSchema

from lab.link import UNIMPAIRED, Distribution, GilbertElliott, Impairment, Link
from lab.scenario.base import AtMostOne, Excludes, Model, Needs, Opt, Rule
from lab.scenario.quantities import Bandwidth, Bytes, Share, Time, number, one_of
from lab.units import Percent

_Gap = Annotated[int, number(1, 1_000_000, "gap"), WithJsonSchema({"type": "integer", "minimum": 1})]
_Limit = Annotated[int, number(1, 10_000_000, "limit"), WithJsonSchema({"type": "integer", "minimum": 1})]
_Mtu = Annotated[
    int, number(68, 65535, "mtu"), WithJsonSchema({"type": "integer", "minimum": 68, "maximum": 65535})
]
_Distribution = Annotated[
    Distribution, one_of(("uniform", "normal", "pareto", "paretonormal"), "a distribution")
]


class GemodelKeys(Model):
    """Gilbert-Elliott loss: p good→bad, r bad→good, loss in bad (default 100%), loss in good (default 0%)."""

    p: Share
    r: Share
    one_minus_h: Opt[Share] = None
    one_minus_k: Opt[Share] = None

    def model(self) -> GilbertElliott:
        bad = self.one_minus_h if self.one_minus_h is not None else Percent.parse("100%")
        good = self.one_minus_k if self.one_minus_k is not None else Percent.parse("0%")
        return GilbertElliott(self.p, self.r, bad, good)


class SideKeys(Model):
    """What a link does to packets in one direction, or in both."""

    delay: Opt[Time] = None
    jitter: Opt[Time] = None
    correlation: Opt[Share] = None
    distribution: Opt[_Distribution] = None
    loss: Opt[Share] = None
    loss_correlation: Opt[Share] = None
    gemodel: Opt[GemodelKeys] = None
    duplicate: Opt[Share] = None
    reorder: Opt[Share] = None
    reorder_correlation: Opt[Share] = None
    gap: Opt[_Gap] = None
    corrupt: Opt[Share] = None
    rate: Opt[Bandwidth] = None
    burst: Opt[Bytes] = None
    limit: Opt[_Limit] = None
    mtu: Opt[_Mtu] = None

    def impairment(self) -> Impairment:
        """These keys alone; None where a key is not named."""
        plain = {key: getattr(self, key) for key in LINK_KEYS if key != "gemodel"}
        return Impairment(**plain, gemodel=None if self.gemodel is None else self.gemodel.model())


LINK_KEYS = tuple(SideKeys.model_fields)

#: What makes sense only together. netem has no jitter without a delay, no reordering without one.
SIDE_RULES: tuple[Rule, ...] = (
    AtMostOne(("loss", "gemodel"), "one says how packets are lost"),
    Needs("jitter", ("delay",), "jitter varies a delay"),
    Needs("correlation", ("jitter",), "it is the correlation of the jitter"),
    Needs("distribution", ("jitter",), "it is the distribution of the jitter"),
    Needs("loss_correlation", ("loss",)),
    Needs("reorder", ("delay",), "a reordered packet is one that skips the delay"),
    Needs("reorder_correlation", ("reorder",)),
    Needs("gap", ("reorder",)),
    Needs("burst", ("rate",)),
)
SPLIT_RULES: tuple[Rule, ...] = (
    Excludes("up", LINK_KEYS, "write all keys under up and down, or none"),
    Excludes("down", LINK_KEYS, "write all keys under up and down, or none"),
)


class LinkSide(SideKeys):
    """One direction of a link: `up: {…}` or `down: {…}`."""

    rules: ClassVar[tuple[Rule, ...]] = SIDE_RULES


class LinkChange(SideKeys):
    """One direction of a change: what it does not name stays, so its keys need no others here."""

    rules: ClassVar[tuple[Rule, ...]] = (AtMostOne(("loss", "gemodel"), "one says how packets are lost"),)


class LinkSpec(SideKeys):
    """A host's access link: keys for both ways, or `up` and `down`."""

    rules: ClassVar[tuple[Rule, ...]] = (*SPLIT_RULES, *SIDE_RULES)

    up: Opt[LinkSide] = None
    down: Opt[LinkSide] = None

    def link(self) -> Link:
        if self.up is None and self.down is None:
            both = self.impairment()
            return Link(both, both)
        return Link(
            UNIMPAIRED if self.up is None else self.up.impairment(),
            UNIMPAIRED if self.down is None else self.down.impairment(),
        )
