"""The values that steps and checks share: addresses and expected output."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from lab import patterns
from lab.scenario.base import problem, shown
from lab.scenario.quantities import OneOf, parse_host, parse_text

_LONGEST = 2_000  #: characters of a regular expression


class TextMatch(Struct, frozen=True):
    """Output of a program: equal except for final newlines, or a `/regex/` found somewhere in it."""

    text: str
    regex: bool

    def holds(self, output: str) -> bool:
        if self.regex:
            return patterns.search(self.text, output) is not None
        return output.rstrip("\n") == self.text.rstrip("\n")

    def __str__(self) -> str:
        return f"/{self.text}/" if self.regex else repr(self.text)


def _text_match(value: object) -> TextMatch:
    if isinstance(value, TextMatch):
        return value
    text = parse_text(value)
    if len(text) < 2 or not (text.startswith("/") and text.endswith("/")):
        return TextMatch(text, regex=False)
    if len(text) > _LONGEST:
        raise problem(f"a regular expression of {len(text):,} characters; at most {_LONGEST:,} are allowed")
    try:
        re.compile(text[1:-1])
    except (re.error, OverflowError, RecursionError) as error:
        raise problem(f"{shown(text)} is not a regular expression: {error}") from None
    return TextMatch(text[1:-1], regex=True)


Output = Annotated[
    TextMatch,
    PlainValidator(_text_match),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}], "description": "text, or /regex/"}),
]


def _regex(value: object) -> TextMatch:
    match = _text_match(value)
    if not match.regex:
        raise problem(f"{shown(value)} is not a regular expression: write it between slashes, /like this/")
    return match


Regex = Annotated[
    TextMatch,
    PlainValidator(_regex),
    WithJsonSchema({"type": "string", "pattern": r"^/[\s\S]*/$", "description": "/regex/"}),
]


def _group(value: object) -> TextMatch:
    match = _regex(value)
    if re.compile(match.text).groups != 1:
        raise problem(f"{shown(value)} needs one group, whose text is kept, like /failed=(\\d+)/")
    return match


#: A regular expression with one group, whose last match is kept.
Recorded = Annotated[
    TextMatch,
    PlainValidator(_group),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^/[\s\S]*\([\s\S]*\)[\s\S]*/$",
            "description": "/regex with (a group)/",
        }
    ),
]


class Address(Struct, frozen=True):
    """A host or an IP address, and a port; no port if only the host is meant."""

    host: str
    port: int | None = None

    @property
    def literal(self) -> bool:
        """Whether `host` is an IP address and not a host's name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str, *, port_needed: bool) -> Address:
        """`host:port` or `[v6]:port`; unless `port_needed`, also a host alone. Raises pydantic's error."""
        match = re.fullmatch(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[^:]*))?", text)
        if match is None:
            raise problem(f"{shown(text)} is not an address: host:port or [v6 address]:port")
        v6, host, port = match["v6"], match["host"], match["port"]
        if v6 is not None:
            try:
                host = str(ipaddress.IPv6Address(v6))
            except ValueError:
                raise problem(f"{shown(text)}: {v6!r} is not an IPv6 address") from None
        elif not cls(host).literal:
            parse_host(host)
        if port is None:
            if port_needed:
                raise problem(f"{shown(text)} has no port: an address is host:port, like server:8001")
            return cls(host)
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise problem(f"{shown(text)}: {port!r} is not a port, 1 to 65535")
        return cls(host, int(port))


def _address(what: str, *, port_needed: bool) -> PlainValidator:
    def check(value: object) -> Address:
        if isinstance(value, Address):
            return value
        if not isinstance(value, str):
            raise problem(f"{shown(value)} is not {what}")
        return Address.parse(value, port_needed=port_needed)

    return PlainValidator(check)


Target = Annotated[
    Address,
    _address("an address: host:port, like server:8001", port_needed=True),
    WithJsonSchema({"type": "string", "pattern": ":[0-9]+$"}),
]
Party = Annotated[
    Address,
    _address("a host or host:port", port_needed=False),
    WithJsonSchema({"type": "string", "description": "host, or host:port"}),
]


def _local(value: object) -> str:
    if not isinstance(value, str):
        raise problem(f"{shown(value)} is not an address: any, a host's name or an IP address")
    if Address(value).literal:
        return value
    return parse_host(value)


#: Where a socket is bound: `any`, `localhost`, a host's name or an IP address.
LocalAddress = Annotated[str, PlainValidator(_local), WithJsonSchema({"type": "string"})]


Kind = Annotated[Literal["tcp", "udp"], OneOf("a kind of socket")]
Family = Annotated[Literal["ipv4", "ipv6"], OneOf("an address family")]
WireDirection = Annotated[Literal["up", "down", "both"], OneOf("a direction")]


def _nonempty(value: list[Any]) -> list[Any]:
    if not value:
        raise problem("the list is empty")
    return value


NonEmpty = AfterValidator(_nonempty)
