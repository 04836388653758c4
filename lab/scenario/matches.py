"""The packets that a step or a check selects: a word, exact TCP flags, or fields of the headers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from lab.packet_words import FLAGS, MATCHES, TCP_OPTIONS, Bounds, HeaderMatch, PacketMatch, match_text
from lab.scenario.base import AtLeastOne, Model, Opt, Rule, problem, shown
from lab.scenario.problems import did_you_mean
from lab.scenario.quantities import OneOf, enum
from lab.scenario.ranges import Range, ShortOr, Written


def _flag_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        shown_value = "an empty list" if value == [] else shown(value)
        raise problem(f"{shown_value} is not a list of TCP flags; allowed: {', '.join(FLAGS)}")
    flags = [flag.lower() if isinstance(flag, str) else flag for flag in value]
    for name in flags:
        if not isinstance(name, str) or name not in FLAGS:
            raise problem(f"{shown(name)} is not a TCP flag; allowed: {', '.join(FLAGS)}")
    if len(set(flags)) != len(flags):
        raise problem("a flag is in the list twice")
    return tuple(name for name in FLAGS if name in flags)


def _match(value: object) -> Match:
    if isinstance(value, str) and value in MATCHES:
        return Match(word=value)
    if isinstance(value, list) and value:
        return Match(flags=_flag_names(value))
    raise problem(
        f"{'an empty list' if value == [] else shown(value)} does not match packets; allowed: "
        f"{', '.join(MATCHES)}, a list of TCP flags, or a mapping of {', '.join(HeaderForm.yaml_keys())}"
        f"{did_you_mean(value, MATCHES)}"
    )


_FLAGS_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "enum": [*FLAGS, *(name.upper() for name in FLAGS)]},
}
_SHORT_MATCH = Annotated[
    Any,
    PlainValidator(_match),
    WithJsonSchema({"anyOf": [{"type": "string", "enum": list(MATCHES)}, _FLAGS_SCHEMA]}),
]


def _between(low: int, high: int, what: str) -> AfterValidator:
    """The limits of a range lie between two numbers, ends included."""

    def judge(value: Range) -> Range:
        for limit in (value.min, value.max):
            if limit is not None and not low <= limit <= high:
                raise problem(f"{limit} is not a {what}: {low} to {high}")
        return value

    return AfterValidator(judge)


_Ttl = Annotated[Range, _between(0, 255, "TTL")]
_Window = Annotated[Range, _between(0, 65535, "window")]
_Tos = Annotated[Range, _between(0, 255, "type of service")]
_Length = Annotated[Range, _between(0, 65535, "length of an IP packet")]


class HeaderForm(Model):
    """`{flags: [syn], option: mss, ttl: 1, window: 0, tos: 16, length: {min: 1000}}`: all must hold."""

    rules: ClassVar[tuple[Rule, ...]] = (
        AtLeastOne(("flags", "option", "ttl", "window", "tos", "length"), "otherwise any packet matches"),
    )
    flags: Opt[Annotated[tuple[str, ...], PlainValidator(_flag_names), WithJsonSchema(_FLAGS_SCHEMA)]] = None
    option: Opt[Annotated[str, OneOf("an option of TCP", TCP_OPTIONS), enum(TCP_OPTIONS)]] = None
    ttl: Opt[_Ttl] = None
    window: Opt[_Window] = None
    tos: Opt[_Tos] = None
    length: Opt[_Length] = None

    def header(self) -> HeaderMatch:
        def bounds(value: Range | None) -> Bounds | None:
            return None if value is None else Bounds(value.min, value.max)

        return HeaderMatch(
            self.flags, self.option, *map(bounds, (self.ttl, self.window, self.tos, self.length))
        )


class Match(Written, frozen=True):
    """Which packets: a `word` (syn, syn-ack, fin, rst, data, ack, any, icmp …), exactly these TCP `flags`, or
    fields of the `header`."""

    forms = ShortOr(HeaderForm, _SHORT_MATCH)

    word: str | None = None
    flags: tuple[str, ...] = ()
    header: HeaderMatch | None = None

    @property
    def value(self) -> PacketMatch:
        """The match as records hold it."""
        return self.header or (self.flags if self.word is None else self.word)

    def __str__(self) -> str:
        return f"({self.header})" if self.header is not None else match_text(self.value)

    @classmethod
    def of_form(cls, form: Any) -> Self:
        return form if isinstance(form, cls) else cls(header=form.header())


def _droppable(value: Match) -> Match:
    """Refuse matches that cannot be dropped: the wire's router drops packets after it checks the TTL."""
    if value.word in ("frag-needed", "ttl-exceeded"):
        raise problem(f"{value.word} comes from the wire's router, not from a host: no rule can drop it")
    ttl = None if value.header is None else value.header.ttl
    if ttl is not None and ttl.max is not None and ttl.max < 2:
        raise problem(f"ttl {ttl}: such a packet ends at the wire's router, so there is nothing to drop")
    return value


#: Which packets a step can drop.
Droppable = Annotated[Match, AfterValidator(_droppable)]
