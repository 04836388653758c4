"""Every option by its name: numbers as the system has them, values as the kernel takes and gives them."""

from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab.socket_options import LEVELS, OPTIONS, TCP_INFO, decode, encode, error_number
from tools.option_reference import page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "options.md"

#: Where Python's name is that of another option: two names, two numbers in the headers.
_OTHER = {"IPV6_PATHMTU"}


@pytest.mark.parametrize("name", [name for name in OPTIONS if hasattr(socket, name) and name not in _OTHER])
def test_numbers_are_those_of_the_system(name: str) -> None:
    assert OPTIONS[name].number == getattr(socket, name)


def test_levels_are_those_of_the_system() -> None:
    assert LEVELS == {
        "SO": socket.SOL_SOCKET,
        "IP": socket.IPPROTO_IP,
        "IPV6": socket.IPPROTO_IPV6,
        "TCP": socket.IPPROTO_TCP,
        "UDP": socket.IPPROTO_UDP,
    }


def test_no_number_stands_twice() -> None:
    assert len({(option.level, option.number) for option in OPTIONS.values()}) == len(OPTIONS)


@pytest.mark.parametrize(
    ("name", "value", "ns", "raw"),
    [
        ("TCP_NODELAY", True, None, "01000000"),
        ("SO_RCVBUF", 10_000, None, "10270000"),
        ("SO_MARK", 2**32 - 1, None, "ffffffff"),
        ("IP_TOS", -1, None, "ffffffff"),
        ("SO_RCVTIMEO", None, 1_500_000_000, "0100000000000000" + "20a1070000000000"),
        ("TCP_USER_TIMEOUT", None, 3_000_000_000, "b80b0000"),
        ("TCP_USER_TIMEOUT", 3000, None, "b80b0000"),
        ("TCP_KEEPIDLE", None, 5_000_000_000, "05000000"),
        ("SO_LINGER", {"onoff": 1, "seconds": 5}, None, "0100000005000000"),
        ("TCP_CONGESTION", "reno", None, "72656e6f00"),
        ("IP_MULTICAST_IF", "198.18.1.2", None, "c6120102"),
        ("IP_ADD_MEMBERSHIP", "239.1.2.3", None, "ef010203" + "00000000"),
        ("TCP_FASTOPEN_KEY", {"hex": "00ff"}, None, "00ff"),
    ],
)
def test_a_value_as_the_kernel_takes_it(name: str, value: Any, ns: int | None, raw: str) -> None:
    assert encode(OPTIONS[name], value, ns=ns).hex() == raw


@pytest.mark.parametrize(
    ("name", "value", "ns", "why"),
    [
        ("SO_RCVTIMEO", 1, None, "a duration with its unit"),
        ("TCP_NODELAY", "yes", None, "true or false"),
        ("SO_RCVBUF", None, 1_000_000, "a whole number"),
        ("TCP_KEEPIDLE", None, 1_500_000_000, "a whole number of seconds"),
        ("SO_LINGER", 1, None, "onoff"),
        ("TCP_CONGESTION", 5, None, "a text"),
        ("IP_MULTICAST_IF", "server", None, "an IPv4 address"),
        ("SO_RCVBUF", 2**32, None, "does not fit into 32 bits"),
        ("SO_PEERCRED", 1, None, "{hex: …}"),
    ],
)
def test_a_value_that_an_option_does_not_take(name: str, value: Any, ns: int | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode(OPTIONS[name], value, ns=ns)


def test_what_the_kernel_gives_is_decoded() -> None:
    with socket.socket() as sock:

        def asked(name: str) -> Any:
            option = OPTIONS[name]
            return decode(option, sock.getsockopt(option.level, option.number, option.size))

        assert asked("SO_TYPE") == socket.SOCK_STREAM
        assert asked("SO_LINGER") == {"onoff": 0, "seconds": 0}
        assert asked("SO_ERROR") == 0
        assert asked("SO_COOKIE") > 0
        assert asked("TCP_CONGESTION") in ("cubic", "reno", "bbr")
        assert asked("SO_RCVTIMEO") == 0.0
        info = asked("TCP_INFO")
    assert (info["state"], info["ca_state"], info["snd_cwnd"]) == (7, 0, 10)
    assert set(info) <= set(TCP_INFO)


def test_fields_of_tcp_info_do_not_overlap() -> None:
    places = sorted((at, at + {"B": 1, "H": 2, "I": 4, "Q": 8}[form[-1]]) for at, form in TCP_INFO.values())
    assert all(end <= begin for (_, end), (begin, _) in pairwise(places))


def test_errors_by_name() -> None:
    assert (error_number("ECONNREFUSED"), error_number("ENONESUCH")) == (111, None)


def test_the_reference_is_up_to_date() -> None:
    """Made anew by `python -m tools.option_reference > docs/reference/options.md`."""
    assert REFERENCE.read_text() == page()
