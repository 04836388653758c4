"""What a step may expect: one class for each kind of outcome, all with the same fields for the runner.

`Expect` has every key. A subclass allows the keys that make sense for its calls; the others stay None.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, PlainValidator, Tag, WithJsonSchema

from lab.scenario.base import Excludes, Model, Opt, Rule, problem, shown
from lab.scenario.data import DataExpect
from lab.scenario.quantities import ErrorName, Flag, InfoField, Name, OneOf, number
from lab.scenario.ranges import Counted, Elapsed, Range, ShortOr
from lab.scenario.values import Output, Party


def _onoff(value: object) -> int:
    if isinstance(value, int) and value in (0, 1):
        return int(value)
    raise problem(f"{shown(value)} is not 0 or 1")


class Linger(Model):
    """The value of SO_LINGER."""

    onoff: Annotated[int, PlainValidator(_onoff), WithJsonSchema({"type": ["integer", "boolean"]})]
    seconds: Annotated[int, number(0, 65535, "seconds")]


def _hex_text(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and re.fullmatch(r"([0-9a-fA-F]{2})*", text):
        return text.lower()
    raise problem(f"{shown(value)} is not hex: pairs of digits, like 00ff")


class HexValue(Model):
    """The bytes of a value, as the kernel takes them."""

    hex: Annotated[
        str,
        PlainValidator(_hex_text),
        WithJsonSchema({"type": ["string", "integer"], "pattern": "^[0-9a-fA-F]*$"}),
    ]


def _option_value(value: object) -> int | str:
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, str):
        return value
    allowed = "a number, true, false, a text, {hex: …}"
    raise problem(f"{shown(value)} is not a value of a socket option: {allowed}")


_PlainOption = Annotated[
    int | str,
    PlainValidator(_option_value),
    WithJsonSchema({"type": ["integer", "boolean", "string"]}),
]


def _option_form(value: Any) -> str:
    if isinstance(value, (Linger, Range, HexValue)):
        return "<linger>" if isinstance(value, Linger) else "<range>" if isinstance(value, Range) else "<hex>"
    if not isinstance(value, dict):
        return "<short>"
    for keys, form in (({"min", "max"}, "<range>"), ({"onoff", "seconds"}, "<linger>"), ({"hex"}, "<hex>")):
        if keys & value.keys():
            return form
    return "<fields>"


def _set_form(value: Any) -> str:
    form = _option_form(value)
    return form if form in ("<short>", "<hex>") else "<linger>"


OptionValue = Annotated[
    Annotated[Linger, Tag("<linger>")]
    | Annotated[HexValue, Tag("<hex>")]
    | Annotated[_PlainOption, Tag("<short>")],
    Discriminator(_set_form),
]
_OptionResult = Annotated[
    Annotated[Linger, Tag("<linger>")]
    | Annotated[Range, Tag("<range>")]
    | Annotated[HexValue, Tag("<hex>")]
    | Annotated[dict[InfoField, Counted], Tag("<fields>")]
    | Annotated[_PlainOption, Tag("<short>")],
    Discriminator(_option_form),
]


def _nothing(value: object) -> None:
    if value is not None:
        raise problem(f"{shown(value)}: this call returns nothing, so its result can only be null")


_Nothing = Annotated[None, PlainValidator(_nothing), WithJsonSchema({"type": "null"})]


EVENTS = ("in", "pri", "out", "rdhup", "err", "hup", "nval")
ReadyEvent = Annotated[str, OneOf("an event of poll", EVENTS)]


def _true(value: object) -> Literal[True]:
    if value is True:
        return True
    raise problem(f"{shown(value)}: any is true, or is left out")


def _plain_result(value: object) -> object:
    if isinstance(value, list):
        raise problem("a list is not a result: a number, a text, null, {min, max} or a mapping")
    return value


_PlainResult = Annotated[
    Any,
    PlainValidator(_plain_result),
    WithJsonSchema({"type": ["integer", "boolean", "string", "null"]}),
]
#: For an `await`, which does not tell the call: a range or a mapping is one, anything else is itself.
AwaitedResult = Annotated[Any, ShortOr(_OptionResult, _PlainResult)]

_WhateverHappens = Annotated[Literal[True], PlainValidator(_true), WithJsonSchema({"const": True})]
_ALONE = Excludes(
    "any",
    ("result", "data", "eof", "error", "elapsed", "peer", "truncated", "ready"),
    "any: true leaves all of it open",
)


class Expect(Model):
    """The expected outcome of a call. None is not checked; null is a `result`: see `has_result`."""

    allowed: ClassVar[tuple[str, ...] | None] = None  #: the keys that make sense beside `any`; None is all
    rules: ClassVar[tuple[Rule, ...]] = (_ALONE,)

    result: AwaitedResult = None
    data: Opt[DataExpect] = None
    eof: Opt[Flag] = None
    error: Opt[ErrorName] = None
    elapsed: Opt[Elapsed] = None
    peer: Opt[Party] = None
    truncated: Opt[Flag] = None
    ready: Opt[dict[Name, list[ReadyEvent]]] = None
    any: Opt[_WhateverHappens] = None  #: any outcome; checks judge it

    @classmethod
    def yaml_keys(cls) -> tuple[str, ...]:
        return (*cls.allowed, "any") if cls.allowed is not None else super().yaml_keys()

    @property
    def speaks_of_error(self) -> bool:
        """Whether it allows the call to fail."""
        return self.error is not None or self.any is True

    @property
    def has_result(self) -> bool:
        """Whether a result is expected; null is a result."""
        return "result" in self.model_fields_set


class PlainExpect(Expect):
    """For a call that returns nothing: bind, listen, connect, sendall, close …"""

    allowed = ("result", "error", "elapsed")
    result: _Nothing = None


class CountExpect(Expect):
    """For a call that returns a count: send, sendto, and `socket` with a count."""

    allowed = ("result", "error", "elapsed")
    result: Opt[Counted] = None


class OptionExpect(Expect):
    """For getsockopt."""

    allowed = ("result", "error", "elapsed")
    result: Opt[_OptionResult] = None


class PollExpect(Expect):
    """For poll: which sockets are ready, and for what; no more and no less."""

    allowed = ("ready", "error", "elapsed")
    rules: ClassVar[tuple[Rule, ...]] = (Excludes("error", ("ready",), "a call that fails has none"), _ALONE)


class AcceptExpect(Expect):
    """For accept."""

    allowed = ("peer", "error", "elapsed")


class StreamExpect(Expect):
    """For recv, recv_exactly, peek and drain."""

    allowed = ("data", "eof", "error", "elapsed")


class DatagramExpect(Expect):
    """For recvfrom."""

    allowed = ("data", "peer", "truncated", "error", "elapsed")
    rules: ClassVar[tuple[Rule, ...]] = (
        Excludes("error", ("peer", "truncated"), "a call that fails has none"),
        _ALONE,
    )


class RunExpect(Model):
    """The expected end of a program. `error`: a step killed it, or it timed out. `any`: any end."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Excludes("error", ("exit",), "a program that is ended has none"),
        Excludes("any", ("error", "exit", "stdout", "stderr", "elapsed"), "any: true leaves all of it open"),
    )
    error: Opt[Annotated[Literal["killed", "timeout"], OneOf("an end of a program")]] = None
    exit: Opt[Range] = None
    stdout: Opt[Output] = None
    stderr: Opt[Output] = None
    elapsed: Opt[Elapsed] = None
    any: Opt[_WhateverHappens] = None


def _awaited(value: Any) -> str:
    if isinstance(value, RunExpect) or (
        isinstance(value, dict) and {"exit", "stdout", "stderr"} & value.keys()
    ):
        return "<run>"
    return "<call>"


AwaitExpect = Annotated[
    Annotated[RunExpect, Tag("<run>")] | Annotated[Expect, Tag("<call>")], Discriminator(_awaited)
]
