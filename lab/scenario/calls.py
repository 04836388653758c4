"""The socket calls of a scenario, one class for each, and what every step has."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Discriminator, PlainValidator, Tag, WithJsonSchema, model_validator

from lab.scenario.base import AtLeastOne, AtMostOne, Excludes, Needs, Opt, Rule, problem
from lab.scenario.data import Data
from lab.scenario.element import Element
from lab.scenario.expects import (
    AcceptExpect,
    CountExpect,
    DatagramExpect,
    HexValue,
    Linger,
    OptionExpect,
    OptionValue,
    PlainExpect,
    PollExpect,
    ReadyEvent,
    StreamExpect,
)
from lab.scenario.option_values import check_option
from lab.scenario.quantities import (
    Bytes,
    Count,
    Flag,
    HostName,
    Name,
    OneOf,
    OptionName,
    Port,
    Time,
    number,
    parse_duration,
)
from lab.scenario.ranges import is_list
from lab.scenario.values import Family, Kind, LocalAddress, NonEmpty, Target
from lab.socket_options import OPTIONS, TIMES
from lab.units import Duration


class Step(Element):
    """What every step has."""

    host_keys: ClassVar[tuple[str, ...]] = ("at",)

    do: str
    id_: Opt[Name] = None

    @property
    def id(self) -> str:
        """Its `id` in the file, otherwise its path."""
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
    """Makes a socket, or `count` of them, named `as`0, `as`1 …; the result is how many were made."""

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


#: Which flags make sense where; a flag of the other direction is refused.
SEND_FLAGS = ("MSG_OOB", "MSG_DONTWAIT", "MSG_MORE", "MSG_NOSIGNAL", "MSG_DONTROUTE", "MSG_CONFIRM")
RECEIVE_FLAGS = ("MSG_WAITALL", "MSG_OOB", "MSG_DONTWAIT", "MSG_PEEK", "MSG_TRUNC")
SendFlag = Annotated[str, OneOf("a flag of a call that sends", (*SEND_FLAGS, "MSG_FASTOPEN"))]
ReceiveFlag = Annotated[str, OneOf("a flag of a call that receives", RECEIVE_FLAGS)]


class Send(Call):
    do: Literal["send"] = "send"
    on: Name
    data: Data
    flags: Opt[list[SendFlag]] = None
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
    kind: Opt[Kind] = None
    flags: Opt[list[SendFlag]] = None
    expect: Opt[CountExpect] = None


class Receiving(Call):
    """recv and its kin: at most `size` bytes."""

    on: Name
    size: Bytes
    expect: Opt[StreamExpect] = None


class Recv(Receiving):
    do: Literal["recv"] = "recv"
    flags: Opt[list[ReceiveFlag]] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if {"MSG_PEEK", "MSG_WAITALL"} <= set(self.flags or ()):
            raise problem("MSG_WAITALL takes what comes and MSG_PEEK leaves it: give one of them")
        return self


class RecvExactly(Receiving):
    do: Literal["recv_exactly"] = "recv_exactly"


class Peek(Receiving):
    do: Literal["peek"] = "peek"


class Recvfrom(Call):
    do: Literal["recvfrom"] = "recvfrom"
    on: Name
    size: Bytes
    flags: Opt[list[ReceiveFlag]] = None
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
    ]  #: None (written `none`) blocks forever, 0 does not block


class Setsockopt(PlainCall):
    do: Literal["setsockopt"] = "setsockopt"
    on: Name
    option: OptionName
    value: OptionValue

    @property
    def setting(self) -> int | str | Duration | dict[str, Any]:
        """The value for the kernel; text that is a time if the option counts time."""
        if isinstance(self.value, Linger | HexValue):
            return self.value.model_dump()
        if isinstance(self.value, str) and OPTIONS[self.option].kind in TIMES:
            return parse_duration(self.value)
        return self.value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if OPTIONS[self.option].access == "get":
            raise problem(f"{self.option} can only be read, by getsockopt")
        check_option(self.option, self.value)
        return self


class Getsockopt(Call):
    do: Literal["getsockopt"] = "getsockopt"
    on: Name
    option: OptionName
    expect: Opt[OptionExpect] = None

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if OPTIONS[self.option].access == "set":
            raise problem(f"{self.option} can only be set, by setsockopt")
        wanted = self.expect.result if self.expect is not None else None
        if isinstance(wanted, dict) and OPTIONS[self.option].kind != "tcp_info":
            raise problem(f"the result of {self.option} has no fields; only TCP_INFO has")
        if isinstance(wanted, str) and OPTIONS[self.option].kind in TIMES:
            parse_duration(wanted)
        return self


def _sockets(value: object) -> object:
    if isinstance(value, list) and not value:
        raise problem("the list is empty: name one socket or more")
    return value


class Poll(Call):
    """poll(2): waits until one of the sockets is ready."""

    do: Literal["poll"] = "poll"
    on: Annotated[
        Annotated[Name, Tag("<short>")] | Annotated[list[Name], Tag("<list>")],
        Discriminator(is_list),
        AfterValidator(_sockets),
    ]
    events: Annotated[list[ReadyEvent], NonEmpty]
    expect: Opt[PollExpect] = None


class Shutdown(PlainCall):
    do: Literal["shutdown"] = "shutdown"
    on: Name
    how: Annotated[Literal["read", "write", "both"], OneOf("a way to shut a socket down")]


class Close(PlainCall):
    do: Literal["close"] = "close"
    on: Name


#: Every socket call, in the order of the documentation.
CALL_STEPS: tuple[type[Call], ...] = (
    *(Socket, Bind, Listen, Accept, Connect, Send, Sendall, Sendto, Recv, RecvExactly, Peek, Recvfrom, Drain),
    *(Settimeout, Setsockopt, Getsockopt, Poll, Shutdown, Close),
)

#: Their names.
CALLS: tuple[str, ...] = tuple(cls.model_fields["do"].default for cls in CALL_STEPS)
