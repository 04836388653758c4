"""The checks of a scenario: one class for each `check`, its fields the YAML keys.

`CHECKS` is the table of all of them. `lab.checks` judges them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, PlainValidator, Tag, TypeAdapter, WithJsonSchema, model_validator

from lab.place import Place
from lab.scenario.base import AtMostOne, Model, Needs, Opt, Rule, problem, shown
from lab.scenario.calls import CALLS
from lab.scenario.element import NOWHERE, Element, UnionOf
from lab.scenario.expects import AwaitedResult, OptionValue
from lab.scenario.matches import Match
from lab.scenario.option_values import check_option
from lab.scenario.quantities import (
    Count,
    CounterName,
    ErrorName,
    Flag,
    HostName,
    Name,
    OneOf,
    OptionName,
    Port,
    Share,
    SpanText,
    StateName,
    Time,
    enum,
)
from lab.scenario.ranges import Bounds, Counted, Elapsed, Range, ShortOr, is_list
from lab.scenario.values import NonEmpty, Output, Party, Regex


class Check(Element):
    """What every check has."""

    check: str

    @property
    def id(self) -> str:
        """`checks[2]`."""
        return self.path


class TimedCheck(Check):
    """A check that may look only at what happened between two steps."""

    after: Opt[Name] = None  #: the id of a step: only what came after its end counts
    before: Opt[Name] = None  #: the id of a step: only what came before its start counts


class PairCheck(TimedCheck):
    """A check of the traffic between two hosts."""

    host_keys: ClassVar[tuple[str, ...]] = ("from", "to")
    from_: Party
    to: Party


WHICH_RULES: tuple[Rule, ...] = (Needs("process", ("socket",), "whose process it is"),)


class ConnectionCheck(PairCheck):
    """A check of the connections between two hosts, or of some of them."""

    rules: ClassVar[tuple[Rule, ...]] = WHICH_RULES
    socket: Opt[Name] = None  #: its name at `from`
    process: Opt[Name] = None  #: None: main
    nth: Opt[Count] = None  #: from 1, by the first SYN


class HandshakeCheck(ConnectionCheck):
    """SYN, SYN-ACK and ACK were seen at both ends, in order."""

    check: Literal["handshake"] = "handshake"
    count: Opt[Counted] = None  #: None: all connections that match must hold
    syn: Opt[Counted] = None
    elapsed: Opt[Elapsed] = None


def _segments(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value in (3, 4):
        return value
    raise problem(f"{shown(value)}: a close takes 3 or 4 segments")


class CloseCheck(ConnectionCheck):
    """How a connection was closed, and which side began."""

    check: Literal["close"] = "close"
    host_keys = ("from", "to", "first")
    first: Opt[HostName] = None
    how: Annotated[Literal["fin", "rst"], OneOf("a way to close")]
    count: Opt[Counted] = None  #: None: all connections that match must hold
    segments: Opt[
        Annotated[int, PlainValidator(_segments), WithJsonSchema({"type": "integer", "enum": [3, 4]})]
    ] = None


class PacketsCheck(TimedCheck):
    """How many matching packets were sent, were received or were lost."""

    check: Literal["packets"] = "packets"
    host_keys = ("from", "to")
    rules: ClassVar[tuple[Rule, ...]] = (
        *WHICH_RULES,
        Needs("socket", ("from",), "the host that has the socket"),
        Needs("nth", ("from",), "a connection has two ends"),
        Needs("nth", ("to",), "a connection has two ends"),
    )
    from_: Opt[Party] = None
    to: Opt[Party] = None
    socket: Opt[Name] = None
    process: Opt[Name] = None
    nth: Opt[Count] = None
    match: Match = Match(word="any")
    at: Annotated[Literal["sender", "receiver", "lost"], OneOf("a place to count")] = "sender"
    count: Counted


class RetransmissionsCheck(ConnectionCheck):
    check: Literal["retransmissions"] = "retransmissions"
    count: Counted


class OneWayCheck(PairCheck):
    """The median one-way delay."""

    check: Literal["one_way"] = "one_way"
    delay: Elapsed


class LossCheck(PairCheck):
    """The share of packets lost, by an exact binomial test."""

    check: Literal["loss"] = "loss"
    rate: Share


class ReorderedCheck(PairCheck):
    check: Literal["reordered"] = "reordered"
    count: Counted


class DuplicatedCheck(PairCheck):
    check: Literal["duplicated"] = "duplicated"
    count: Counted


def _kernel(value: object) -> str:
    if value == "kernel":
        return "kernel"
    raise problem(f"{shown(value)} is neither kernel nor a list of gaps, like [1s, 2s, 4s]")


_Kernel = Annotated[
    Literal["kernel"], PlainValidator(_kernel), WithJsonSchema({"type": "string", "const": "kernel"})
]


class ScheduleCheck(ConnectionCheck):
    """The gaps between the transmissions of one segment: as listed, or as the host's sysctls make them."""

    check: Literal["schedule"] = "schedule"
    match: Annotated[Literal["syn", "syn-ack", "data", "fin", "probe"], OneOf("a segment with a schedule")]
    gaps: Annotated[
        Annotated[list[SpanText], Tag("<list>")] | Annotated[_Kernel, Tag("<short>")],
        Discriminator(is_list),
    ]


TimerName = Literal["keepalive", "retransmit", "persist", "time_wait", "none"]


class StateCheck(TimedCheck):
    """A socket was (`ever`) or is (at the `end`, or when a step has ended) in a state."""

    check: Literal["state"] = "state"
    host_keys = ("at", "to")
    rules: ClassVar[tuple[Rule, ...]] = (Needs("within", ("timer",), "it is the time left on the timer"),)
    at: HostName
    to: Opt[Party] = None
    port: Opt[Port] = None
    state: StateName
    when: Opt[Name] = None  #: end, ever, or the id of a step
    count: Opt[Counted] = None  #: None: at least one
    timer: Opt[Annotated[TimerName, OneOf("a timer of a socket")]] = None
    within: Opt[Time] = None  #: at most this much time is left on the timer

    @property
    def moment(self) -> str:
        """`end`, `ever`, or the id of the step at whose end it is asked."""
        if self.when is not None:
            return self.when
        return "end" if self.after is None and self.before is None else "ever"


class CounterCheck(Check):
    """How much a kernel counter rose over the steps."""

    check: Literal["counter"] = "counter"
    host_keys = ("at",)
    at: HostName
    name: CounterName
    delta: Range


class ServiceCheck(Check):
    """Whether a service runs at the end, how it ended, what it wrote. Without `service`: the only one."""

    check: Literal["service"] = "service"
    host_keys = ("at",)
    at: HostName
    service: Opt[Name] = None
    exit: Opt[Range] = None
    running: Opt[Flag] = None
    stdout: Opt[Output] = None
    stderr: Opt[Output] = None


class LogCheck(TimedCheck):
    """How many lines of a service's log match. Without `count`: at least one."""

    check: Literal["log"] = "log"
    host_keys = ("at",)
    at: HostName
    service: Opt[Name] = None
    match: Regex
    stream: Opt[Annotated[Literal["stdout", "stderr"], OneOf("a stream of a program")]] = None
    count: Opt[Counted] = None


class CallCheck(TimedCheck):
    """How many recorded calls of a host are like this. Without `count`: at least one."""

    check: Literal["call"] = "call"
    host_keys = ("at", "to")
    rules: ClassVar[tuple[Rule, ...]] = (
        AtMostOne(("process", "service", "run"), "a call belongs to one of them"),
        AtMostOne(("error", "result"), "a call that fails has none"),
        Needs("value", ("option",), "it is the value of an option"),
    )
    at: HostName
    process: Opt[Name] = None  #: None: any of the host
    service: Opt[Name] = None
    run: Opt[Name] = None
    call: Opt[Annotated[str, OneOf("a socket call", CALLS), enum(CALLS)]] = None
    to: Opt[Party] = None
    port: Opt[Port] = None  #: of either end
    error: Opt[ErrorName] = None
    result: AwaitedResult = None
    elapsed: Opt[Elapsed] = None
    option: Opt[OptionName] = None
    value: Opt[OptionValue] = None
    count: Opt[Counted] = None

    @property
    def has_result(self) -> bool:
        """Whether a result is expected; null is a result."""
        return "result" in self.model_fields_set

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.option is not None and self.value is not None:
            check_option(self.option, self.value)
        return self


class ValueCheck(Check):
    """The value of a `record` of the case."""

    check: Literal["value"] = "value"
    host_keys = ()
    of: Name
    is_: Bounds


class OrderedPacket(Model):
    """One packet in an `order`: the `nth` that matches."""

    from_: Opt[Party] = None
    to: Opt[Party] = None
    match: Match = Match(word="any")
    nth: Count = 1
    at: Annotated[Literal["sender", "receiver"], OneOf("a place to look")] = "sender"

    def __str__(self) -> str:
        ends = "".join(f" {w} {p}" for w, p in (("from", self.from_), ("to", self.to)) if p is not None)
        number = f" {self.nth}" if self.nth > 1 else ""
        return f"{self.match} packet{number}{ends} ({'sent' if self.at == 'sender' else 'received'})"


class OrderCheck(Check):
    """The calls ended, and the packets were sent or received, in this order."""

    check: Literal["order"] = "order"
    of: Annotated[list[Annotated[OrderedPacket | str, ShortOr(OrderedPacket, Name)]], NonEmpty]

    def _hosts(self) -> Iterator[str]:
        for item in self.of:
            for party in (item.from_, item.to) if isinstance(item, OrderedPacket) else ():
                if party is not None and not party.literal:
                    yield party.host


class BytesCheck(ConnectionCheck):
    """What was received is what was sent, byte for byte."""

    check: Literal["bytes"] = "bytes"


_CLASSES: tuple[type[Check], ...] = (
    *(HandshakeCheck, CloseCheck, PacketsCheck, RetransmissionsCheck, OneWayCheck, LossCheck, ReorderedCheck),
    *(DuplicatedCheck, ScheduleCheck, StateCheck, CounterCheck, ServiceCheck, LogCheck, ValueCheck),
    *(OrderCheck, BytesCheck, CallCheck),
)

#: Every `check` and its class, in the order of the documentation.
CHECKS: dict[str, type[Check]] = {cls.model_fields["check"].default: cls for cls in _CLASSES}

AnyCheck = Annotated[Check, UnionOf(CHECKS, "check")]


@functools.cache
def _any() -> TypeAdapter[Check]:
    return TypeAdapter(AnyCheck)


def parse_check(keys: dict[str, Any], *, place: Place = NOWHERE, path: str = "checks[?]") -> Check:
    """One check from the keys that YAML gives, for tests and tools. Raises pydantic's ValidationError."""
    check = _any().validate_python(keys)
    check.placed(place, path)
    return check


def steps_asked(checks: Iterable[Check]) -> frozenset[str]:
    """The steps at whose end a check looks at the state of a socket."""
    return frozenset(check.moment for check in checks if isinstance(check, StateCheck)) - {"end", "ever"}
