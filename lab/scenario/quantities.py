"""The types of single values: quantities with a unit, numbers, text, names and the kernel's words.

Each is a type for a model's field: what it accepts, the error for anything else, and its JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Annotated, Any, TypeVar, get_args

from pydantic import GetCoreSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from lab.errors import UnitError
from lab.link import LARGEST_DROP
from lab.scenario.base import problem, shown
from lab.scenario.problems import did_you_mean
from lab.scenario.words import (
    COUNTER_GROUPS,
    ERRNOS,
    ERROR_ALIASES,
    LAB_ERRORS,
    SIGNALS,
    STATE_ALIASES,
    STATES,
)
from lab.socket_options import OPTIONS, TCP_INFO
from lab.units import Duration, Percent, Rate, RoundTrips, Size

Span = Duration | RoundTrips

_NUMBER = r"^[0-9]+(\.[0-9]+)?"
_DURATION_PATTERN = rf"{_NUMBER}(ns|us|ms|s|m)$"
_SPAN_PATTERN = rf"{_NUMBER}(ns|us|ms|s|m|rtt)$"


# --- quantities -------------------------------------------------------------------------------------------


Q = TypeVar("Q", Duration, RoundTrips, Rate, Percent, Size)


def _unit(kind: type[Q], value: object) -> Q:
    """One quantity of `kind` from a YAML value; the error for a bare number says that the unit is missing."""
    if isinstance(value, kind):
        return value
    if isinstance(value, (bool, list, dict)) or value is None:
        raise problem(str(_try(kind, "?")).replace("'?'", shown(value), 1))
    text = str(value)
    result = _try(kind, text)
    if isinstance(result, UnitError):
        said = str(result)
        raise problem(said if isinstance(value, str) else said.replace(repr(text), text, 1))
    return result


def _try(kind: type[Q], text: str) -> Q | UnitError:
    try:
        return kind.parse(text)
    except UnitError as error:
        return error


def parse_duration(value: object) -> Duration:
    """A duration in a unit of time; the error for a round trip says that it needs two hosts."""
    if isinstance(value, str) and not isinstance(_try(RoundTrips, value), UnitError):
        raise problem(
            f"{value!r}: a round trip needs two hosts, and this has none or one: "
            "write a duration, like 5ms or 1.5s"
        )
    return _unit(Duration, value)


def parse_span(value: object) -> Span:
    """A duration, or a multiple of the round trip of the two hosts that are meant."""
    if isinstance(value, RoundTrips):
        return value
    if isinstance(value, str) and value.strip().endswith("rtt"):
        return _unit(RoundTrips, value)
    return _unit(Duration, value)


def _parse_rate(value: object) -> Rate:
    rate = _unit(Rate, value)
    if not rate.bits_per_second:
        raise problem(f"{shown(value)}: a rate is above 0")
    return rate


def parse_size(value: object) -> Size:
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        raise problem(f"{value} is below 0: a size is bytes, or like 64kB or 64KiB")
    if isinstance(value, int) and not isinstance(value, bool):
        return Size(value)
    if isinstance(value, str) and value.strip().isdecimal():
        zero = "with a leading zero it is text" if value.startswith("0") else "take the quotes away"
        raise problem(f"{shown(value)} is not a number ({zero}): a size is bytes, or like 64kB or 64KiB")
    return _unit(Size, value)


def _text_schema(pattern: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": description})


Time = Annotated[
    Duration,
    PlainValidator(parse_duration),
    _text_schema(_DURATION_PATTERN, "a duration: 250us, 5ms, 1.5s, 2m"),
]
SpanText = Annotated[
    Span,
    PlainValidator(parse_span),
    _text_schema(_SPAN_PATTERN, "a duration (250us, 5ms, 1.5s, 2m) or round trips (1rtt, 1.5rtt)"),
]
Bandwidth = Annotated[
    Rate, PlainValidator(_parse_rate), _text_schema(rf"{_NUMBER}(bit|kbit|mbit|gbit)$", "a rate: 10mbit")
]
Share = Annotated[
    Percent,
    PlainValidator(lambda value: _unit(Percent, value)),
    _text_schema(rf"{_NUMBER}%$", "a percentage: 0.5%"),
]
SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": rf"{_NUMBER}(B|kB|KiB|MB|MiB|GB|GiB)$"},
    ],
    "description": "bytes, or 64kB, 1MB (decimal), 64KiB, 1MiB",
}
Bytes = Annotated[Size, PlainValidator(parse_size), WithJsonSchema(SIZE_SCHEMA)]


# --- numbers, text, words ---------------------------------------------------------------------------------


UNLIMITED = 1 << 62


def number(low: int, high: int, what: str) -> Any:
    """The validator and the JSON Schema of a whole number from `low` to `high`."""
    limits = "" if high >= UNLIMITED else f" from {low} to {high}"
    schema: dict[str, Any] = {"type": "integer", **({"minimum": low, "maximum": high} if limits else {})}

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            hint = "; take the quotes away" if isinstance(value, str) and value.isdecimal() else ""
            if isinstance(value, str) and re.fullmatch(r"0[0-9]+", value):
                hint = " (with a leading zero it is text)"
            raise problem(f"{shown(value)} is not a number{hint}: {what} is a whole number{limits}")
        if not low <= value <= high:
            raise problem(f"{value} is out of range: {what} is a whole number{limits}")
        return value

    return PlainValidator(check, json_schema_input_type=Annotated[int, WithJsonSchema(schema)])


Port = Annotated[int, number(0, 65535, "a port")]
Count = Annotated[int, number(1, 1_000_000, "a count")]
DropCount = Annotated[int, number(1, LARGEST_DROP, "the count of a drop")]


def parse_text(value: object) -> str:
    """Text; a plain number is taken as written, so `data: 42` sends "42"."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return str(value)
    raise problem(f"{shown(value)} is not text" + ("; put it in quotes" if isinstance(value, bool) else ""))


Text = Annotated[
    str, PlainValidator(parse_text), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})
]


def flag(value: object) -> bool:
    """true or false; `yes` and `on` are text here."""
    if isinstance(value, bool):
        return value
    raise problem(f"{shown(value)} is not true or false")


Flag = Annotated[bool, PlainValidator(flag), WithJsonSchema({"type": "boolean"})]


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise problem(f"{shown(value)} is not a name" + ("; put it in quotes" if value is not None else ""))
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value):
        raise problem(f"{shown(value)} is not a name: letters, digits, '_', '-' and '.'")
    return value


Name = Annotated[
    str,
    PlainValidator(_name),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"}),
]

HOST_PATTERN = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?"
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")


def is_host_name(text: str) -> bool:
    """Whether a host may have this name: one that Compose allows for a service, and not an address."""
    return bool(re.fullmatch(HOST_PATTERN, text)) and not _ADDRESS.fullmatch(text)


def parse_host(value: object) -> str:
    if not isinstance(value, str):
        raise problem(f"{shown(value)} is not a host's name")
    if not is_host_name(value):
        raise problem(f"{shown(value)} is not a host's name: letters, digits, '-', '_' and '.', at most 63")
    if value == "wire":
        raise problem("'wire' is the lab's own router between the hosts: give this host another name")
    return value


HostName = Annotated[
    str,
    PlainValidator(parse_host),
    WithJsonSchema({"type": "string", "pattern": f"^(?!wire$){HOST_PATTERN}$"}),
]


class OneOf:
    """In an `Annotated`: one of `words`, with a suggestion if it is misspelt; without `words`, one of the
    Literal's beside it."""

    def __init__(self, what: str, words: Collection[str] = ()) -> None:
        self.what, self.words = what, words

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        words = tuple(self.words) or get_args(source)

        def check(value: object) -> object:
            if value not in words:
                allowed = f"{', '.join(words)}{did_you_mean(value, words)}"
                raise problem(f"{shown(value)} is not {self.what}; allowed: {allowed}")
            return value

        return core_schema.no_info_before_validator_function(check, handler(source))


def word(allowed: tuple[str, ...], aliases: dict[str, str], what: str, *, listed: bool = True) -> Any:
    """A word of the kernel, or one of its aliases; gives the canonical word."""

    def check(value: object) -> str:
        if isinstance(value, str):
            found = aliases.get(value, value)
            if found in allowed:
                return found
        also = f"; allowed: {', '.join(allowed)}" if listed else ""
        raise problem(f"{shown(value)} is not {what}{also}{did_you_mean(value, (*allowed, *aliases))}")

    return PlainValidator(check)


def enum(words: Iterable[str]) -> WithJsonSchema:
    """The JSON Schema of text that is one of these words."""
    return WithJsonSchema({"type": "string", "enum": list(words)})


_ERRORS = (*LAB_ERRORS, *sorted(ERRNOS))
ErrorName = Annotated[
    str,
    word(
        _ERRORS,
        ERROR_ALIASES,
        "an error: an errno's name like ECONNREFUSED, or timeout, EOF, killed, gaierror",
        listed=False,
    ),
    enum(sorted((*_ERRORS, *ERROR_ALIASES))),
]
OptionName = Annotated[
    str,
    word(tuple(sorted(OPTIONS)), {}, "a socket option of Linux, like SO_LINGER or TCP_NODELAY", listed=False),
    enum(sorted(OPTIONS)),
]
InfoField = Annotated[
    str,
    word(tuple(TCP_INFO), {}, "a field of TCP_INFO, as the kernel names it without tcpi_"),
    enum(sorted(TCP_INFO)),
]
_STATES = STATE_ALIASES | {
    name.replace("_", "-"): STATE_ALIASES.get(name, name) for name in (*STATES, *STATE_ALIASES)
}
StateName = Annotated[str, word(STATES, _STATES, "a TCP state"), enum(sorted({*STATES, *_STATES}))]
_SIGNALS = {f"SIG{name}": name for name in SIGNALS}
SignalName = Annotated[str, word(SIGNALS, _SIGNALS, "a signal"), enum(sorted((*SIGNALS, *_SIGNALS)))]


def _counter(value: object) -> str:
    groups = "|".join(COUNTER_GROUPS)
    if isinstance(value, str) and re.fullmatch(rf"({groups})[A-Z0-9][A-Za-z0-9]*", value):
        return value
    raise problem(
        f"{shown(value)} is not a counter's name as nstat has it: "
        f"{', '.join(COUNTER_GROUPS)} and the counter, like TcpExtListenOverflows"
    )


CounterName = Annotated[
    str,
    PlainValidator(_counter),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(COUNTER_GROUPS)})[A-Z0-9][A-Za-z0-9]*$"}),
]
