"""The socket calls of a scenario, one class for each, and what every step has."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import PlainValidator, WithJsonSchema, model_validator

from lab.scenario.base import AtLeastOne, AtMostOne, Excludes, Needs, Opt, Rule, problem, shown
from lab.scenario.data import Data
from lab.scenario.element import Element
from lab.scenario.expects import (
    AcceptExpect,
    CountExpect,
    DatagramExpect,
    Linger,
    OptionExpect,
    OptionValue,
    PlainExpect,
    StreamExpect,
)
from lab.scenario.quantities import (
    Bytes,
    Count,
    Flag,
    HostName,
    Name,
    OptionName,
    Port,
    Time,
    number,
    one_of,
    parse_duration,
)
from lab.scenario.values import Family, Kind, LocalAddress, Target
from lab.units import Duration


class Step(Element):
    """What every step has."""

    host_keys: ClassVar[tuple[str, ...]] = ("at",)

    do: str
    id_: Opt[Name] = None

    @property
    def id(self) -> str:
        """Its `id` in the file, or else its path."""
        return self.id_ or self.path


class Call(Step):
    """A socket call at a host, in one of its processes."""

    at: HostName
    process: Name = "main"
    timeout: Opt[Time] = None
    background: Flag = False


class PlainCall(Call):
    expect: Opt[PlainExpect] = None


class Socket(Call):
    """Makes a socket, or `count` of them, named `as`0, `as`1 …; the result says how many were made."""

    do: Literal["socket"] = "socket"
    rules: ClassVar[tuple[Rule, ...]] = (Needs("count", ("as",), "they are named after it: c0, c1 …"),)
    kind: Kind = "tcp"
    family: Family = "ipv4"
    as_: Opt[Name] = None
    count: Opt[Count] = None
    expect: Opt[CountExpect] = None


class Bind(PlainCall):
    do: Literal["bind"] = "bind"
    rules: ClassVar[tuple[Rule, ...]] = (AtMostOne(("on", "as"), "as makes a new socket"),)
    on: Opt[Name] = None
    as_: Opt[Name] = None
    port: Port
    address: LocalAddress = "any"
    kind: Opt[Kind] = None
    family: Opt[Family] = None


class Listen(PlainCall):
    do: Literal["listen"] = "listen"
    rules: ClassVar[tuple[Rule, ...]] = (
        AtLeastOne(("on", "port")),
        Excludes("on", ("port", "address", "family", "as"), "they make a new socket"),
    )
    on: Opt[Name] = None
    port: Opt[Port] = None
    address: LocalAddress = "any"
    family: Opt[Family] = None
    as_: Opt[Name] = None
    backlog: Annotated[int, number(0, 2**31 - 1, "backlog"), WithJsonSchema({"type": "integer"})] = 5


class Accept(Call):
    do: Literal["accept"] = "accept"
    on: Name
    as_: Opt[Name] = None
    expect: Opt[AcceptExpect] = None


class Connect(PlainCall):
    do: Literal["connect"] = "connect"
    host_keys = ("at", "to")
    rules: ClassVar[tuple[Rule, ...]] = (AtMostOne(("on", "as"), "as makes a new socket"),)
    to: Target
    as_: Opt[Name] = None
    on: Opt[Name] = None
    from_port: Opt[Port] = None
    kind: Opt[Kind] = None
    family: Opt[Family] = None


class Send(Call):
    do: Literal["send"] = "send"
    on: Name
    data: Data
    expect: Opt[CountExpect] = None


class Sendall(PlainCall):
    do: Literal["sendall"] = "sendall"
    on: Name
    data: Data


class Sendto(Call):
    do: Literal["sendto"] = "sendto"
    host_keys = ("at", "to")
    on: Name
    to: Target
    data: Data
    expect: Opt[CountExpect] = None


class Receiving(Call):
    """recv and its kin: at most `size` bytes."""

    on: Name
    size: Bytes
    expect: Opt[StreamExpect] = None


class Recv(Receiving):
    do: Literal["recv"] = "recv"


class RecvExactly(Receiving):
    do: Literal["recv_exactly"] = "recv_exactly"


class Peek(Receiving):
    do: Literal["peek"] = "peek"


class Recvfrom(Call):
    do: Literal["recvfrom"] = "recvfrom"
    on: Name
    size: Bytes
    expect: Opt[DatagramExpect] = None


class Drain(Call):
    do: Literal["drain"] = "drain"
    on: Name
    expect: Opt[StreamExpect] = None


def _settimeout(value: object) -> Duration | None:
    if value == "none":
        return None
    return parse_duration(value)


class Settimeout(PlainCall):
    do: Literal["settimeout"] = "settimeout"
    on: Name
    value: Annotated[
        Duration | None,
        PlainValidator(_settimeout),
        WithJsonSchema({"type": "string", "pattern": r"^(none|[0-9]+(\.[0-9]+)?(ns|us|ms|s|m))$"}),
    ]  #: None (written `none`) blocks for ever, 0 does not block


class Setsockopt(PlainCall):
    do: Literal["setsockopt"] = "setsockopt"
    on: Name
    option: OptionName
    value: OptionValue

    @model_validator(mode="after")
    def _linger(self) -> Self:
        if self.option == "SO_LINGER" and not isinstance(self.value, Linger):
            raise problem(f"SO_LINGER takes {{onoff: 0 or 1, seconds: n}}, not {shown(self.value)}")
        if self.option != "SO_LINGER" and isinstance(self.value, Linger):
            raise problem(f"{{onoff, seconds}} is the value of SO_LINGER, not of {self.option}")
        return self


class Getsockopt(Call):
    do: Literal["getsockopt"] = "getsockopt"
    on: Name
    option: OptionName
    expect: Opt[OptionExpect] = None


class Shutdown(PlainCall):
    do: Literal["shutdown"] = "shutdown"
    on: Name
    how: Annotated[
        Literal["read", "write", "both"], one_of(("read", "write", "both"), "a way to shut a socket down")
    ]


class Close(PlainCall):
    do: Literal["close"] = "close"
    on: Name
