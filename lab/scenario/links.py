"""The link keys of a scenario, and what they make of a `lab.link.Link`."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, get_args, get_origin

from msgspec.structs import fields
from pydantic import AfterValidator, create_model, model_validator

from lab.link import (
    EXCLUSIVE,
    NEEDS,
    UNIMPAIRED,
    Distribution,
    GilbertElliott,
    Impairment,
    Link,
    problems,
    unfit,
)
from lab.scenario.base import AtMostOne, Excludes, Model, Needs, Opt, Rule, optional, present, problem
from lab.scenario.quantities import Bandwidth, Bytes, OneOf, Share, Time, number
from lab.units import Duration, Percent, Rate, Size


def _fits(option: str) -> AfterValidator:
    """Refuse a value that a kernel could not hold exactly."""

    def check(value: Any) -> Any:
        if text := unfit(option, value):
            raise problem(text)
        return value

    return AfterValidator(check)


def _written(name: str, kind: Any) -> Any:
    """The YAML type of the option with this name and type."""
    if get_origin(kind) is Annotated:
        whole, limits = get_args(kind)
        return Annotated[whole, number(limits.ge, limits.le, name)]
    if kind == Distribution:
        return Annotated[Distribution, OneOf("a distribution")]
    if kind is GilbertElliott:
        return GemodelKeys
    quantity = {Duration: Time, Percent: Share, Rate: Bandwidth, Size: Bytes}[kind]
    return Annotated[quantity, _fits(name)]


def _keys(of: type[Impairment | GilbertElliott]) -> dict[str, Any]:
    """A key for each field; one with a default may be left out."""
    keys: dict[str, Any] = {}
    for field in fields(of):
        kind = field.type
        if NoneType in (either := get_args(kind)):
            kind = next(one for one in either if one is not NoneType)
        written = _written(field.name, kind)
        keys[field.name] = written if field.required else (optional(written), None)
    return keys


if TYPE_CHECKING:
    _GemodelKeys = Model
else:
    _GemodelKeys = create_model("_GemodelKeys", __base__=Model, **_keys(GilbertElliott))


class GemodelKeys(_GemodelKeys):
    """Gilbert-Elliott loss: p good→bad, r bad→good, loss in bad (default 100%), loss in good (default 0%)."""

    def model(self) -> GilbertElliott:
        return GilbertElliott(**present(self, GilbertElliott.__struct_fields__))


if TYPE_CHECKING:
    _SideKeys = Model
else:
    _SideKeys = create_model("_SideKeys", __base__=Model, **_keys(Impairment))


LINK_KEYS = Impairment.__struct_fields__


class SideKeys(_SideKeys):
    """What a link does to packets in one direction, or in both."""

    def impairment(self) -> Impairment:
        """These keys alone; None for a key that is not given."""
        given = present(self, LINK_KEYS)
        if "gemodel" in given:
            given["gemodel"] = given["gemodel"].model()
        return Impairment(**given)

    def ways(self, up: SideKeys | None, down: SideKeys | None) -> tuple[Impairment | None, Impairment | None]:
        """Both directions, from their own keys or from those for both; None where a direction has none."""
        if up is None and down is None:
            both = self.impairment()
            return both, both
        return None if up is None else up.impairment(), None if down is None else down.impairment()


_EXCLUSIVE = AtMostOne(*EXCLUSIVE)
SIDE_RULES: tuple[Rule, ...] = (
    _EXCLUSIVE,
    *(Needs(need.option, (need.other,), need.why) for need in NEEDS),
)
SPLIT_RULES: tuple[Rule, ...] = (
    Excludes("up", LINK_KEYS, "write all keys under up and down, or none"),
    Excludes("down", LINK_KEYS, "write all keys under up and down, or none"),
)


class LinkSide(SideKeys):
    """One direction of a link: `up: {…}` or `down: {…}`."""

    rules: ClassVar[tuple[Rule, ...]] = SIDE_RULES

    @model_validator(mode="after")
    def _possible(self) -> Self:
        """Refuse values that a kernel rejects together; the rules judge which keys are there."""
        asked = self.impairment()
        broken = self.broken_rules(asked.given())
        if wrong := [text for text in problems(asked) if text not in broken]:
            raise problem("; ".join(wrong))
        return self


class LinkChange(SideKeys):
    """One direction of a change: other options stay, so its keys need no others here."""

    rules: ClassVar[tuple[Rule, ...]] = (_EXCLUSIVE,)


class LinkSpec(LinkSide):
    """A host's access link: keys for both ways, or `up` and `down`."""

    rules: ClassVar[tuple[Rule, ...]] = (*SPLIT_RULES, *SIDE_RULES)

    up: Opt[LinkSide] = None
    down: Opt[LinkSide] = None

    def link(self) -> Link:
        up, down = self.ways(self.up, self.down)
        return Link(up or UNIMPAIRED, down or UNIMPAIRED)
