"""How many and how long: a value, or `{min, max}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import Struct
from pydantic import AfterValidator, Discriminator, GetCoreSchemaHandler, PlainValidator, Tag, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from lab.scenario.base import AtLeastOne, Model, Opt, Rule, WhenMet, problem, shown
from lab.scenario.quantities import SIZE_SCHEMA, UNLIMITED, Span, SpanText, number, parse_size
from lab.tolerance import Tolerance
from lab.units import Duration, RoundTrips


def is_mapping(value: Any) -> str:
    """The discriminator of every value that may be written short or as a mapping."""
    return "<mapping>" if isinstance(value, (dict, Model)) else "<short>"


def short_or(mapping: Any, short: Any) -> Any:
    """A union that never tries both: a mapping is judged as `mapping`, all else as `short`."""
    if isinstance(mapping, type) and issubclass(mapping, Model):
        mapping = Annotated[mapping, WhenMet(mapping)]
    return Annotated[
        Annotated[mapping, Tag("<mapping>")] | Annotated[short, Tag("<short>")], Discriminator(is_mapping)
    ]


_COUNT = Annotated[
    int, number(-UNLIMITED, UNLIMITED, "this, or its min and max,"), WithJsonSchema({"type": "integer"})
]


def _bytes_as_int(value: object) -> int:
    return parse_size(value).bytes


_LENGTH = Annotated[int, PlainValidator(_bytes_as_int), WithJsonSchema(SIZE_SCHEMA)]


class RangeForm(Model):
    """`{min: 1, max: 3}`; one of the two may be left out."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("min", "max")),)
    min: Opt[_COUNT] = None
    max: Opt[_COUNT] = None


class LengthForm(Model):
    """`{min: 1, max: 64kB}`; one of the two may be left out."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("min", "max")),)
    min: Opt[_LENGTH] = None
    max: Opt[_LENGTH] = None


class Range(Struct, frozen=True):
    """How many: exactly (`min` equals `max`), at least, at most, or between, ends included."""

    min: int | None = None
    max: int | None = None

    @classmethod
    def exactly(cls, count: int) -> Range:
        return cls(count, count)

    @property
    def exact(self) -> int | None:
        return self.min if self.min == self.max else None

    def holds(self, count: int) -> bool:
        return (self.min is None or count >= self.min) and (self.max is None or count <= self.max)

    def __str__(self) -> str:
        if self.min is None or self.max is None:
            return f"at most {self.max}" if self.min is None else f"at least {self.min}"
        return str(self.min) if self.min == self.max else f"{self.min} to {self.max}"

    @classmethod
    def _of(cls, value: Any, inner: Callable[[Any], Any]) -> Range:
        if isinstance(value, cls):
            return value
        form = inner(value)
        if isinstance(form, int):
            return cls.exactly(form)
        if form.min is not None and form.max is not None and form.min > form.max:
            raise problem(f"min {form.min} is above max {form.max}")
        return cls(form.min, form.max)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        form = handler.generate_schema(short_or(RangeForm, _COUNT))
        return core_schema.no_info_wrap_validator_function(cls._of, form)


def _not_negative(value: Range) -> Range:
    if (value.min is not None and value.min < 0) or (value.max is not None and value.max < 0):
        raise problem(f"{value}: a count is not below 0")
    return value


#: How many of something: not below 0.
Counted = Annotated[Range, AfterValidator(_not_negative)]


_NUMBER = Annotated[
    Decimal, PlainValidator(lambda value: _decimal(value)), WithJsonSchema({"type": "number"})
]


def _decimal(value: object) -> Decimal:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    hint = "; take the quotes away" if isinstance(value, str) and re.fullmatch(r"-?[0-9.]+", value) else ""
    raise problem(f"{shown(value)} is not a number{hint}: this is a number, or {{min, max}}")


class BoundsForm(Model):
    """`{min: 0.5, max: 2}`; one of the two may be left out."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("min", "max")),)
    min: Opt[_NUMBER] = None
    max: Opt[_NUMBER] = None


class Bounds(Struct, frozen=True):
    """What a number is: exactly (`min` equals `max`), at least, at most, or between, ends included."""

    min: Decimal | None = None
    max: Decimal | None = None

    def holds(self, number: Decimal) -> bool:
        return (self.min is None or number >= self.min) and (self.max is None or number <= self.max)

    def __str__(self) -> str:
        if self.min is None or self.max is None:
            return f"at most {self.max}" if self.min is None else f"at least {self.min}"
        return str(self.min) if self.min == self.max else f"{self.min} to {self.max}"

    @classmethod
    def _of(cls, value: Any, inner: Callable[[Any], Any]) -> Bounds:
        if isinstance(value, cls):
            return value
        form = inner(value)
        if isinstance(form, Decimal):
            return cls(form, form)
        if form.min is not None and form.max is not None and form.min > form.max:
            raise problem(f"min {form.min} is above max {form.max}")
        return cls(form.min, form.max)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        form = handler.generate_schema(short_or(BoundsForm, _NUMBER))
        return core_schema.no_info_wrap_validator_function(cls._of, form)


class LengthSchema:
    """Makes a `Range` read sizes: `{length: 64kB}`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        form = handler.generate_schema(short_or(LengthForm, _LENGTH))
        return core_schema.no_info_wrap_validator_function(Range._of, form)


Length = Annotated[Range, LengthSchema()]


class ElapsedForm(Model):
    """`{min: 90ms, max: 150ms}`; one of the two may be left out."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("min", "max")),)
    min: Opt[SpanText] = None
    max: Opt[SpanText] = None


class Elapsed(Struct, frozen=True):
    """How long: `exact` within the default tolerance, or between `min` and `max` without any."""

    exact: Span | None = None
    min: Span | None = None
    max: Span | None = None

    @property
    def needs_rtt(self) -> bool:
        return any(isinstance(span, RoundTrips) for span in (self.exact, self.min, self.max))

    def bounds(self, tolerance: Tolerance, rtt: Duration | None = None) -> tuple[int | None, int | None]:
        """The earliest and the latest time that holds, in ns; None is no limit. `rtt` is the configured round
        trip of the pair, needed where `needs_rtt`."""
        if self.exact is not None:
            return tolerance.bounds(span_ns(self.exact, rtt))
        low = None if self.min is None else span_ns(self.min, rtt)
        return low, None if self.max is None else span_ns(self.max, rtt)

    def __str__(self) -> str:
        if self.exact is not None:
            return str(self.exact)
        if self.min is None or self.max is None:
            return f"at most {self.max}" if self.min is None else f"at least {self.min}"
        return f"{self.min} to {self.max}"

    @classmethod
    def _of(cls, value: Any, inner: Callable[[Any], Any]) -> Elapsed:
        if isinstance(value, cls):
            return value
        form = inner(value)
        if not isinstance(form, ElapsedForm):
            return cls(exact=form)
        low, high = form.min, form.max
        if isinstance(low, Duration) and isinstance(high, Duration):
            upside_down = low > high
        else:
            upside_down = (
                isinstance(low, RoundTrips) and isinstance(high, RoundTrips) and low.factor > high.factor
            )
        if upside_down:
            raise problem(f"min {low} is above max {high}")
        return cls(None, low, high)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        form = handler.generate_schema(short_or(ElapsedForm, SpanText))
        return core_schema.no_info_wrap_validator_function(cls._of, form)


def span_ns(span: Span, rtt: Duration | None) -> int:
    """A span in ns. Raises `ValueError` where a round trip is meant and the pair is not known."""
    if isinstance(span, Duration):
        return span.ns
    if rtt is None:
        raise ValueError(f"{span}: the two hosts are not known")
    return span.of(rtt).ns
