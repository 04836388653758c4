"""Data made in chunks is the data that a scenario describes; options are known by their names."""

from __future__ import annotations

import random
import socket

import pytest

from images.host.lab_agent import options, recipe
from lab.scenario.words import OPTIONS


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("äb", "äb".encode()),
        ({"text": ""}, b""),
        ({"hex": "00ff"}, b"\x00\xff"),
        ({"hex": "00ff", "times": 3}, b"\x00\xff" * 3),
        ({"repeat": "xyz", "times": 3_000_000}, b"xyz" * 3_000_000),
        ({"repeat": "", "times": 9}, b""),
        ({"repeat": "x", "times": 0}, b""),
        ({"random": 0, "seed": 1}, b""),
        *(
            ({"random": n, "seed": 7}, random.Random(7).randbytes(n))
            for n in (1, 5, recipe.CHUNK - 1, recipe.CHUNK, recipe.CHUNK + 3, 2 * recipe.CHUNK + 1)
        ),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, bytes) else "",
)
def test_chunks_join_to_the_whole(what: object, expected: bytes) -> None:
    chunks = list(recipe.chunks(what))
    assert b"".join(chunks) == expected
    assert recipe.length(what) == len(expected)
    assert all(0 < len(chunk) <= recipe.CHUNK for chunk in chunks)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_that_a_scenario_may_name_is_known(name: str) -> None:
    level, _ = options.number(name)
    assert level in options.LEVELS.values()


def test_the_numbers_are_linuxs() -> None:
    assert options.number("TCP_SYNCNT") == (socket.IPPROTO_TCP, 7)
    assert options.number("TCP_USER_TIMEOUT") == (socket.IPPROTO_TCP, 18)
    assert options.number("IP_MTU_DISCOVER") == (socket.IPPROTO_IP, 10)


@pytest.mark.parametrize("name", ["SO_NONESUCH", "AF_INET", "TCP_", ""])
def test_what_is_no_option(name: str) -> None:
    with pytest.raises(options.BadOption):
        options.number(name)


def test_a_time_out_option_that_would_do_nothing_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(options.BadOption, match="use settimeout"):
        options.set_option(sock, "SO_RCVTIMEO", 1)
