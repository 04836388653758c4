"""Each socket option of the reference on a real host: set and read, or refused for what it needs."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import pytest

from lab.engine.base import Engine
from lab.engine.images import Images
from lab.evidence.model import CallRecord
from lab.host import CallSpec, Host
from lab.socket_options import OPTIONS, Option
from tests.lab.agent_pair import Pair, agent_pair

pytestmark = pytest.mark.docker

#: A value for each option that is no flag: another than a fresh socket has, so that reading it is a proof.
VALUES: Mapping[str, Any] = {
    "SO_SNDBUF": 8192,
    "SO_RCVBUF": 8192,
    "SO_PRIORITY": 5,
    "SO_LINGER": {"onoff": 1, "seconds": 3},
    "SO_RCVLOWAT": 7,
    "SO_RCVTIMEO": {"hex": "01000000000000000000000000000000"},
    "SO_SNDTIMEO": {"hex": "01000000000000000000000000000000"},
    "SO_BINDTODEVICE": "eth0",
    "SO_TIMESTAMPING": 24,
    "SO_PEEK_OFF": 3,
    "SO_MAX_PACING_RATE": 100_000,
    "SO_INCOMING_CPU": 0,
    "SO_CNX_ADVICE": 1,
    "SO_BINDTOIFINDEX": 1,
    "SO_BUF_LOCK": 1,
    "SO_BUSY_POLL": 2000,
    "SO_TXREHASH": 0,
    "IP_TOS": 16,
    "IP_TTL": 33,
    "IP_OPTIONS": {"hex": "01010101"},
    "IP_MTU_DISCOVER": 0,
    "IP_MINTTL": 9,
    "IP_MULTICAST_IF": "198.18.0.0",  # in its place the host's own address is set: `value_of`
    "IP_MULTICAST_TTL": 5,
    "IP_UNICAST_IF": 1 << 24,
    "IP_LOCAL_PORT_RANGE": 40_100 << 16 | 40_000,
    "TCP_MAXSEG": 1000,
    "TCP_KEEPIDLE": 7,
    "TCP_KEEPINTVL": 7,
    "TCP_KEEPCNT": 4,
    "TCP_SYNCNT": 3,
    "TCP_LINGER2": 7,
    "TCP_DEFER_ACCEPT": 7,
    "TCP_WINDOW_CLAMP": 30_000,
    "TCP_CONGESTION": "reno",
    "TCP_USER_TIMEOUT": 1234,
    "TCP_FASTOPEN": 5,
    "TCP_NOTSENT_LOWAT": 9999,
    "TCP_FASTOPEN_KEY": {"hex": "00112233445566778899aabbccddeeff"},
    "TCP_TX_DELAY": 2000,
    "TCP_RTO_MAX_MS": 64_000,
    "TCP_RTO_MIN_US": 100_000,
    "TCP_DELACK_MAX_US": 100_000,
    "UDP_ENCAP": 2,
    "UDP_SEGMENT": 500,
}

#: Where the kernel gives back another value than it was given.
READ: Mapping[str, Any] = {
    "SO_SNDBUF": 16384,  # twice as much, for its own book-keeping
    "SO_RCVBUF": 16384,
    "SO_RCVTIMEO": 1.0,
    "SO_SNDTIMEO": 1.0,
    "IP_OPTIONS": "01010101",
    "TCP_FASTOPEN_KEY": "00112233445566778899aabbccddeeff",
    "TCP_THIN_DUPACK": 0,  # taken and forgotten, since Linux 4.11
}

#: The kernel that all of this was seen on; an older one may lack what is newer than it.
SEEN_ON = (6, 18)

#: What an option needs → with what error a host says so. An option whose need is not here is set and read.
#: Several: by what the socket is, or by what the kernel was built with.
REFUSED: Mapping[str, tuple[str, ...]] = {
    "NET_ADMIN": ("EPERM", "EACCES", "EINVAL", "ENOPROTOOPT"),
    "a Unix socket": ("ENOTSUP",),
    "a program in memory": ("EPERM", "EINVAL", "EFAULT"),
    "a filter": ("ENOENT", "EINVAL"),
    "a security module": ("ENOPROTOOPT",),
    "a memory cgroup for sockets": ("ENOTSUP",),
    "a raw socket": ("ENOPROTOOPT", "EINVAL"),
    "a route for multicast, which the wire does not carry": ("ENODEV", "EINVAL", "EPROTO"),
    "a membership": ("EINVAL", "ENOBUFS", "EADDRNOTAVAIL"),
    "a key for an address": ("EINVAL", "ENOPROTOOPT", "ENOENT"),
    "a protocol above that the kernel has": ("ENOENT",),
    "a mapping in memory": ("EINVAL",),
    "an IPv6 socket": ("ENOPROTOOPT", "ENOTSUP", "EINVAL"),
}

#: Something to set where it is refused.
VALUE_OF_KIND: Mapping[str, Any] = {
    "bytes": {"hex": "00112233445566778899aabbccddeeff"},
    "text": "tls",
    "membership": "239.1.2.3",
}

#: What a test can give: a socket of UDP, one that is connected, a kernel that is new. "" is nothing.
GIVEN = ("", "a datagram socket", "a connection", "NET_ADMIN on an older kernel")

_SERIAL = count()


@pytest.fixture(scope="module")
def pair(engine: Engine, images: Images) -> Iterator[Pair]:
    with agent_pair(engine, images.host.tag) as made:
        do(made.server, "listen", port=8001, as_="listener")
        yield made


def do(host: Host, call: str, **arguments: Any) -> CallRecord:
    spec = CallSpec(f"{call}-{next(_SERIAL)}", call, {key.rstrip("_"): v for key, v in arguments.items()})
    return host.call(spec).result(10)


def kinds_of(option: Option) -> tuple[str, ...]:
    """The sockets that an option is tried on: those of its protocol, of others both."""
    level = option.name.partition("_")[0]
    if option.needs == "a datagram socket" or level == "UDP":
        return ("udp",)
    return ("tcp",) if level == "TCP" else ("tcp", "udp")


def fresh(pair: Pair, option: Option, kind: str) -> str:
    """The name of a new socket of the client, connected where the option needs that."""
    name = f"{option.name}-{kind}-{next(_SERIAL)}"
    if option.needs == "a connection":
        do(pair.client, "connect", to=["server", 8001], as_=name, kind=kind)
    else:
        do(pair.client, "socket", kind=kind, as_=name)
    return name


def value_of(option: Option, before: object, pair: Pair) -> Any:
    if option.kind == "address":
        return str(pair.setups["client"].here.address)
    return VALUES[option.name] if option.name in VALUES else int(not before)


def tried(pair: Pair, option: Option, kind: str) -> CallRecord:
    """The option set and read on a socket of this kind: the call that failed, or the last one."""
    name = fresh(pair, option, kind)
    before = do(pair.client, "getsockopt", on=name, option=option.name)
    if option.access == "get" or (before.error is not None and option.access == "both"):
        return before
    value = value_of(option, before.result, pair)
    written = do(pair.client, "setsockopt", on=name, option=option.name, value=value)
    if written.error is not None or option.access == "set":
        return written
    after = do(pair.client, "getsockopt", on=name, option=option.name)
    if after.error is None:
        wanted = READ.get(option.name, value)
        assert after.result == wanted or after.result == wanted - 2**32, (before.result, value)
        assert option.name in READ or after.result != before.result, (
            "the value that it had before proves nothing"
        )
    return after


def kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split(".")[:2])


def test_every_option_is_tried_or_says_why_not() -> None:
    """A new option needs a value here, or a need that this test knows: else it would count as tested."""
    needs = {option.needs for option in OPTIONS.values()}
    assert needs <= {*GIVEN, *REFUSED}
    assert set(REFUSED) <= needs
    plain = {
        option.name
        for option in OPTIONS.values()
        if option.needs in GIVEN and option.access != "get" and option.kind != "bool"
    }
    assert set(VALUES) == plain


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.needs in GIVEN])
def test_an_option_is_set_and_read(name: str, pair: Pair) -> None:
    """On the sockets of its protocol, and what is read is what was set."""
    option = OPTIONS[name]
    errors = [record.error for kind in kinds_of(option) if (record := tried(pair, option, kind)).error]
    older = ("ENOPROTOOPT", "EPERM") if option.needs == "NET_ADMIN on an older kernel" else ("ENOPROTOOPT",)
    if kernel() < SEEN_ON and errors and all(error.name in older for error in errors):
        pytest.skip(f"Linux {platform.release()} has no {name} for a program without capabilities")
    assert len(errors) < len(kinds_of(option)), errors


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.needs in REFUSED])
def test_an_option_is_refused_for_what_it_needs(name: str, pair: Pair) -> None:
    """A reason that does not hold would keep an option from being used, or from being tested."""
    option = OPTIONS[name]
    for kind in kinds_of(option):
        socket = fresh(pair, option, kind)
        if option.access == "get":
            record = do(pair.client, "getsockopt", on=socket, option=name)
        else:
            value = VALUE_OF_KIND.get(option.kind, 1)
            record = do(pair.client, "setsockopt", on=socket, option=name, value=value)
        assert record.error is not None, f"{name} was taken on {kind}: it needs no {option.needs}"
        assert record.error.name in REFUSED[option.needs], record.error
