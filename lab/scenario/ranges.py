"""How many and how long: a value, or `{min, max}`."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from msgspec import Struct
from pydantic import AfterValidator, Discriminator, GetCoreSchemaHandler, PlainValidator, Tag, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from lab.scenario.base import AtLeastOne, Model, Opt, Rule, WhenMet, problem, shown
from lab.scenario.quantities import SIZE_SCHEMA, UNLIMITED, Span, SpanText, number, parse_size
from lab.tolerance import Tolerance
from lab.units import Duration, RoundTrips


def is_mapping(value: Any) -> str:
    """The discriminator of values with a short form and a mapping."""
    return "<mapping>" if isinstance(value, (dict, Model)) else "<short>"


def is_list(value: Any) -> str:
    """The discriminator of values with a short form and a list."""
    return "<list>" if isinstance(value, list) else "<short>"


class ShortOr:
    """In an `Annotated`: a mapping is judged as `mapping`, anything else as `short`; never are both tried."""

    def __init__(self, mapping: Any, short: Any) -> None:
        if isinstance(mapping, type) and issubclass(mapping, Model):
            mapping = Annotated[mapping, WhenMet(mapping)]
        self.union = Annotated[
            Annotated[mapping, Tag("<mapping>")] | Annotated[short, Tag("<short>")], Discriminator(is_mapping)
        ]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler.generate_schema(self.union)
        if not (isinstance(source, type) and issubclass(source, Written)):
            return schema
        return core_schema.no_info_wrap_validator_function(
            source.read, schema, serialization=core_schema.to_string_ser_schema()
        )


class Written(Struct, frozen=True):
    """A value that the file has in a short form or as a mapping, its `forms`."""

    forms: ClassVar[ShortOr]

    @classmethod
    @abstractmethod
    def of_form(cls, form: Any) -> Self:
        """The value of a valid form. Raises pydantic's error where its parts do not go together."""

    @classmethod
    def read(cls, value: Any, inner: Callable[[Any], Any]) -> Self:
        return value if isinstance(value, cls) else cls.of_form(inner(value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cls.forms.__get_pydantic_core_schema__(cls, handler)


N = TypeVar("N", int, Decimal)

_COUNT = Annotated[int, number(-UNLIMITED, UNLIMITED, "this, or its min and max,")]


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


class Between(Written, Generic[N], frozen=True):
    """A range: exactly (`min` equals `max`), at least, at most, or between, ends included."""

    min: N | None = None
    max: N | None = None

    def holds(self, value: N) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        if self.min is None or self.max is None:
            return f"at most {self.max}" if self.min is None else f"at least {self.min}"
        return str(self.min) if self.min == self.max else f"{self.min} to {self.max}"

    @classmethod
    def of_form(cls, form: Any) -> Self:
        if is_mapping(form) == "<short>":
            return cls(form, form)
        if form.min is not None and form.max is not None and form.min > form.max:
            raise problem(f"min {form.min} is above max {form.max}")
        return cls(form.min, form.max)


class Range(Between[int], frozen=True):
    """The range of a count."""

    forms = ShortOr(RangeForm, _COUNT)

    @classmethod
    def exactly(cls, count: int) -> Range:
        return cls(count, count)

    @property
    def exact(self) -> int | None:
        return self.min if self.min == self.max else None


def _not_negative(value: Range) -> Range:
    if (value.min is not None and value.min < 0) or (value.max is not None and value.max < 0):
        raise problem(f"{value}: a count is not below 0")
    return value


#: How many of something: not below 0.
Counted = Annotated[Range, AfterValidator(_not_negative)]


def _decimal(value: object) -> Decimal:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    hint = "; take the quotes away" if isinstance(value, str) and re.fullmatch(r"-?[0-9.]+", value) else ""
    raise problem(f"{shown(value)} is not a number{hint}: this is a number, or {{min, max}}")


_NUMBER = Annotated[Decimal, PlainValidator(_decimal), WithJsonSchema({"type": "number"})]


class BoundsForm(Model):
    """`{min: 0.5, max: 2}`; one of the two may be left out."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("min", "max")),)
    min: Opt[_NUMBER] = None
    max: Opt[_NUMBER] = None


class Bounds(Between[Decimal], frozen=True):
    """The range of a number."""

    forms = ShortOr(BoundsForm, _NUMBER)


#: A range of bytes: its limits may be sizes, `{length: 64kB}`.
Length = Annotated[Range, ShortOr(LengthForm, _LENGTH)]


class ElapsedForm(Model):
    """`{min: 90ms, max: 150ms}`; one of the two may be left out."""

    rules: ClassVar[tuple[Rule, ...]] = (AtLeastOne(("min", "max")),)
    min: Opt[SpanText] = None
    max: Opt[SpanText] = None


class Elapsed(Written, frozen=True):
    """How long: `exact` within the default tolerance, or between `min` and `max` with none."""

    forms = ShortOr(ElapsedForm, SpanText)

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
    def of_form(cls, form: Any) -> Self:
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


def span_ns(span: Span, rtt: Duration | None) -> int:
    """A span in ns. Raises `ValueError` for a round trip of an unknown pair."""
    if isinstance(span, Duration):
        return span.ns
    if rtt is None:
        raise ValueError(f"{span}: the two hosts are not known")
    return span.of(rtt).ns
