"""How Compose writes single values: commands, environments, durations, sizes, volumes, limits.

Each is a type for a model's field, like those of `lab.scenario.quantities`: what it accepts, the error for
anything else, and its JSON Schema.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from msgspec import Struct
from pydantic import PlainValidator, WithJsonSchema

from lab.scenario.base import problem, shown
from lab.scenario.problems import did_you_mean
from lab.scenario.quantities import parse_text
from lab.scenario.services import Ulimit
from lab.units import LONGEST_NS, Duration

_TEXT = {"type": ["string", "number"]}


def scalar_text(value: object) -> str:
    """Text, a number, true or false, as written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return parse_text(value)


# --- commands ---------------------------------------------------------------------------------------------


def _command(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return tuple(parse_text(one) for one in value)
    text = parse_text(value)
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise problem(f"{shown(text)} cannot be split into words: {str(error).lower()}") from None


#: A list of words, or one text that is split as a shell would; null is the image's own, empty is none.
Command = Annotated[
    tuple[str, ...] | None,
    PlainValidator(_command),
    WithJsonSchema({"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": _TEXT}]}),
]


# --- mappings and lists -----------------------------------------------------------------------------------


def _pairs(value: object, null: bool) -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    if isinstance(value, list):
        for one in value:
            name, equals, text = parse_text(one).partition("=")
            if not equals and not null:
                raise problem(f"{shown(name)} has no value: write {name}=…")
            result[_key(name)] = text if equals else None
        return result
    if not isinstance(value, dict):
        raise problem(f"{shown(value)} is not a mapping or a list of NAME=value")
    for name, one in value.items():
        if one is None and not null:
            raise problem(f"{name} has no value")
        if isinstance(one, (dict, list)):
            raise problem(f"{name}: {shown(one)} is not text")
        result[_key(name)] = None if one is None else scalar_text(one)
    return result


def _key(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise problem(f"{shown(name)} is not a name")
    return name


_PAIRS = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
        {"type": "array", "items": {"type": "string"}},
    ]
}
Environment = Annotated[
    dict[str, str | None], PlainValidator(lambda value: _pairs(value, True)), WithJsonSchema(_PAIRS)
]


def _pairs_of_text(value: object) -> dict[str, str]:
    return {key: one for key, one in _pairs(value, False).items() if one is not None}


Pairs = Annotated[dict[str, str], PlainValidator(_pairs_of_text), WithJsonSchema(_PAIRS)]


def texts(value: object) -> tuple[str, ...]:
    """One text, or a list of them."""
    if isinstance(value, (list, tuple)):
        return tuple(parse_text(one) for one in value)
    return (parse_text(value),)


_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
Texts = Annotated[tuple[str, ...], PlainValidator(texts), WithJsonSchema(_TEXTS)]


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise problem(f"{shown(value)} is not a list")
    return texts(value)


TextList = Annotated[
    tuple[str, ...], PlainValidator(_words), WithJsonSchema({"type": "array", "items": _TEXT})
]


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUTHS:
        return _TRUTHS[value.lower()]
    raise problem(f"{shown(value)} is not true or false")


_TRUTHS = {"true": True, "yes": True, "y": True, "on": True, "1": True}
_TRUTHS |= {"false": False, "no": False, "n": False, "off": False, "0": False}

#: true or false; as text too, since interpolation gives text.
Truth = Annotated[bool, PlainValidator(_truth), WithJsonSchema({"type": ["boolean", "string"]})]


def whole(low: int, high: int, what: str) -> Any:
    """A whole number; as text too, since interpolation gives text."""

    def check(value: object) -> int:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value) else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise problem(f"{shown(value)} is not a whole number: {what}")
        if not low <= number <= high:
            raise problem(f"{number} is out of range: {what} is {low} to {high}")
        return number

    return PlainValidator(check)


# --- quantities -------------------------------------------------------------------------------------------

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS |= {"h": 3600 * 10**9, "d": 86400 * 10**9, "w": 7 * 86400 * 10**9}
_LONGEST = 200  #: characters of a duration
_PART = r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h|d|w)"


def parse_duration(value: object) -> Duration:
    """Compose's durations: `10s`, `1m30s`, `1h5m30s20ms`."""
    if isinstance(value, Duration):
        return value
    if isinstance(value, str) and re.fullmatch(rf"(?:{_PART})+", value):
        parts = re.findall(_PART, value)
        ns = sum(Decimal(number) * _UNITS[unit] for number, unit in parts) if len(value) <= _LONGEST else None
        if ns is None or ns > LONGEST_NS:
            raise problem(f"{shown(value)} is too long: a duration is at most {LONGEST_NS // 10**9:,} s")
        return Duration(round(ns))
    if value in (0, "0"):
        return Duration(0)
    raise problem(
        f"{shown(value)} is not a duration: a number and one of us, ms, s, m, h, or some, like 1m30s"
    )


Time = Annotated[
    Duration,
    PlainValidator(parse_duration),
    WithJsonSchema({"type": ["string", "integer"], "pattern": rf"^({_PART})+$|^0$", "maximum": 0}),
]

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_bytes(value: object) -> int:
    """Compose's sizes: `1024`, `2k`, `64m`, `1gb`, in powers of 1,024."""
    match = re.fullmatch(r"([0-9]{1,15})([kmg]?)b?", str(value).lower())
    if match is None:
        raise problem(f"{shown(value)} is not a size: bytes, or like 64k, 64m, 1g")
    return int(match[1]) * _SIZES[match[2]]


ByteSize = Annotated[int, PlainValidator(parse_bytes), WithJsonSchema({"type": ["integer", "string"]})]


def parse_mode(value: object) -> int:
    """The permissions of a file: `0440`, `"0o440"`, or the number that YAML made of it."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o7777:
        # A plain 0440 is text here; a number without the zero is decimal, as in YAML.
        return value
    if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{3,5}", value):
        return int(value.removeprefix("0o"), 8)
    raise problem(f"{shown(value)} is not the mode of a file, like 0440")


Mode = Annotated[int, PlainValidator(parse_mode), WithJsonSchema({"type": ["integer", "string"]})]

_ULIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
)
_LIMIT: Any = whole(-1, (1 << 63) - 1, "a limit, -1 for none,").func


def _ulimits(value: object) -> dict[str, Ulimit]:
    if not isinstance(value, Mapping):
        raise problem(f"{shown(value)} is not a mapping, like {{nofile: 1024}}")
    result: dict[str, Ulimit] = {}
    for name, limit in value.items():
        if name not in _ULIMITS:
            hint = did_you_mean(name, _ULIMITS)
            raise problem(f"{shown(name)} is not a limit; allowed: {', '.join(_ULIMITS)}{hint}")
        if isinstance(limit, dict):
            if limit.keys() != {"soft", "hard"}:
                raise problem(f"{name}: a limit is a number, or {{soft: …, hard: …}}")
            one = Ulimit(_LIMIT(limit["soft"]), _LIMIT(limit["hard"]))
        else:
            one = Ulimit(_LIMIT(limit), _LIMIT(limit))
        if one.hard != -1 and (one.soft == -1 or one.soft > one.hard):
            raise problem(f"{name}: soft {one.soft} is above hard {one.hard}")
        result[name] = one
    return result


Ulimits = Annotated[
    dict[str, Ulimit],
    PlainValidator(_ulimits),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"enum": list(_ULIMITS)},
            "additionalProperties": {
                "anyOf": [
                    {"type": ["integer", "string"]},
                    {
                        "type": "object",
                        "required": ["soft", "hard"],
                        "properties": {
                            "soft": {"type": ["integer", "string"]},
                            "hard": {"type": ["integer", "string"]},
                        },
                        "additionalProperties": False,
                    },
                ]
            },
        }
    ),
]


# --- volumes ----------------------------------------------------------------------------------------------


class VolumeShort(Struct, frozen=True):
    """`source:target:mode` taken apart; `source` None is a volume of the service's own."""

    source: str | None
    target: str
    read_only: bool = False
    nocopy: bool = False

    @property
    def is_bind(self) -> bool:
        return self.source is not None and (self.source[:1] in "./~" or self.source == "")


_OPTIONS = ("ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", "rprivate", "private")


def parse_volume(text: str) -> VolumeShort:
    """The short form of a volume. Raises pydantic's error."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise problem(f"{shown(text)} is not a volume: source:target or source:target:ro")
    options = parts[2].split(",") if len(parts) == 3 else []
    for option in options:
        if option not in _OPTIONS:
            raise problem(f"{shown(text)}: {option!r} is not an option of a volume; allowed: ro, rw, nocopy")
    source, target = (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if not target.startswith("/"):
        raise problem(f"{shown(text)}: the target {target!r} is not an absolute path in the container")
    return VolumeShort(source, target, "ro" in options, "nocopy" in options)


def parse_target(value: object) -> str:
    """An absolute path in a container."""
    text = parse_text(value)
    if not text.startswith("/") or "\0" in text:
        raise problem(f"{shown(text)} is not an absolute path in the container, like /srv")
    return text


Target = Annotated[str, PlainValidator(parse_target), WithJsonSchema({"type": "string", "pattern": "^/"})]


class FilePair(Struct, frozen=True):
    """`source:target` of a host's `files`."""

    source: str
    target: str


def _file_pair(value: object) -> FilePair:
    text = parse_text(value)
    source, colon, target = text.rpartition(":")
    if not colon or not source or not target.startswith("/"):
        raise problem(f"{shown(text)} is not a file for a host: ./file:/path/in/the/host")
    return FilePair(source, target)


Files = Annotated[FilePair, PlainValidator(_file_pair), WithJsonSchema({"type": "string", "pattern": ".:/"})]
