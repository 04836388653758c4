"""Which packets a step or a check means: a word, exact TCP flags, or fields of the headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from msgspec import Struct
from pydantic import AfterValidator, GetCoreSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from lab.packet_words import FLAGS, MATCHES, TCP_OPTIONS, Bounds, HeaderMatch, PacketMatch, match_text
from lab.scenario.base import AtLeastOne, Model, Opt, Rule, problem, shown
from lab.scenario.problems import did_you_mean
from lab.scenario.quantities import one_of
from lab.scenario.ranges import Range, short_or


class Match(Struct, frozen=True):
    """Which packets: a `word` (syn, syn-ack, fin, rst, data, ack, any, icmp …), exactly these TCP `flags`, or
    fields of the `header`."""

    word: str | None = None
    flags: tuple[str, ...] = ()
    header: HeaderMatch | None = None

    @property
    def value(self) -> PacketMatch:
        """As the records have it."""
        return self.header or (self.flags if self.word is None else self.word)

    def __str__(self) -> str:
        return f"({self.header})" if self.header is not None else match_text(self.value)

    @classmethod
    def _of(cls, value: Any, inner: Callable[[Any], Any]) -> Match:
        if isinstance(value, cls):
            return value
        form = inner(value)
        return form if isinstance(form, cls) else cls(header=form.header())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        form = handler.generate_schema(short_or(HeaderForm, _SHORT_MATCH))
        return core_schema.no_info_wrap_validator_function(
            cls._of, form, serialization=core_schema.to_string_ser_schema()
        )


def _flag_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        shown_value = "an empty list" if value == [] else shown(value)
        raise problem(f"{shown_value} is not a list of TCP flags; allowed: {', '.join(FLAGS)}")
    flags = [flag.lower() if isinstance(flag, str) else flag for flag in value]
    for name in flags:
        if not isinstance(name, str) or name not in FLAGS:
            raise problem(f"{shown(name)} is not a TCP flag; allowed: {', '.join(FLAGS)}")
    if len(set(flags)) != len(flags):
        raise problem("a flag stands in the list twice")
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
                raise problem(f"{limit} is no {what}: {low} to {high}")
        return value

    return AfterValidator(judge)


_Ttl = Annotated[Range, _between(0, 255, "TTL")]
_Window = Annotated[Range, _between(0, 65535, "window")]
_Tos = Annotated[Range, _between(0, 255, "type of service")]
_Length = Annotated[Range, _between(0, 65535, "length of an IP packet")]


class HeaderForm(Model):
    """`{flags: [syn], option: mss, ttl: 1, window: 0, tos: 16, length: {min: 1000}}`: all must hold."""

    rules: ClassVar[tuple[Rule, ...]] = (
        AtLeastOne(("flags", "option", "ttl", "window", "tos", "length"), "else any packet matches"),
    )
    flags: Opt[Annotated[tuple[str, ...], PlainValidator(_flag_names), WithJsonSchema(_FLAGS_SCHEMA)]] = None
    option: Opt[
        Annotated[
            str,
            one_of(tuple(TCP_OPTIONS), "an option of TCP"),
            WithJsonSchema({"type": "string", "enum": list(TCP_OPTIONS)}),
        ]
    ] = None
    ttl: Opt[_Ttl] = None
    window: Opt[_Window] = None
    tos: Opt[_Tos] = None
    length: Opt[_Length] = None

    def header(self) -> HeaderMatch:
        def bounds(value: Range | None) -> Bounds | None:
            return None if value is None else Bounds(value.min, value.max)

        return HeaderMatch(
            self.flags,
            self.option,
            bounds(self.ttl),
            bounds(self.window),
            bounds(self.tos),
            bounds(self.length),
        )


#: Which packets a step or a check means.
Packets = Match


def _droppable(value: Match) -> Match:
    """Drops are made in the wire's router, behind the point where it looks at the TTL."""
    if value.word in ("frag-needed", "ttl-exceeded"):
        raise problem(f"{value.word} comes from the wire's router, not from a host: no rule can drop it")
    ttl = None if value.header is None else value.header.ttl
    if ttl is not None and ttl.max is not None and ttl.max < 2:
        raise problem(f"ttl {ttl}: such a packet ends at the wire's router, so there is nothing to drop")
    return value


#: Which packets a step can drop.
Droppable = Annotated[Match, AfterValidator(_droppable)]
