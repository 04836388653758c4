"""The values of steps and checks: data, ranges, times, matches, addresses, output."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lab.scenario.calls import Connect, Getsockopt, Sendall, Settimeout
from lab.scenario.checks import CHECKS, parse_check
from lab.scenario.data import Data, DataExpect
from lab.scenario.matches import Match
from lab.scenario.ranges import Elapsed, Range
from lab.scenario.steps import STEPS, Await, Kill, LinkStep, Run, parse_step
from lab.scenario.values import Address, Party, Target, TextMatch
from lab.tolerance import Tolerance
from lab.units import Duration, Percent


def of(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def said(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        of(kind, value)
    return "; ".join(str(error["msg"]) for error in caught.value.errors())


DO = """
socket bind listen accept connect send sendall sendto recv recv_exactly peek recvfrom drain settimeout
setsockopt getsockopt poll shutdown close link cut restore partition heal drop kill pause resume power start
stop run sleep wait_for await parallel repeat
"""
CHECK = """
handshake close packets retransmissions one_way loss reordered duplicated schedule state counter service log
value order bytes call
"""


def test_every_do_and_every_check_is_there() -> None:
    assert list(STEPS) == DO.split()
    assert list(CHECKS) == CHECK.split()


@pytest.mark.parametrize(
    ("written", "content", "recipe"),
    [
        ("héllo", "héllo".encode(), {"text": "héllo"}),
        ("", b"", {"text": ""}),
        (42, b"42", {"text": "42"}),
        ({"hex": "00ff"}, b"\x00\xff", {"hex": "00ff"}),
        ({"repeat": "ab", "times": 3}, b"ababab", {"repeat": "ab", "times": 3}),
        ({"repeat": "ab", "times": 0}, b"", {"repeat": "ab", "times": 0}),
        ({"random": "1kB", "seed": 7}, random.Random(7).randbytes(1000), {"random": 1000, "seed": 7}),
    ],
)
def test_data(written: Any, content: bytes, recipe: dict[str, Any]) -> None:
    data = of(Data, written)
    assert data.bytes() == content
    assert data.length == len(content)
    assert data.recipe() == recipe
    assert of(DataExpect, written).data == data


@given(st.binary(max_size=40))
def test_data_as_hex(content: bytes) -> None:
    assert of(Data, {"hex": content.hex()}).bytes() == content


def test_expected_data() -> None:
    assert of(DataExpect, {"length": "1kB"}) == DataExpect(length=Range(1000, 1000))
    assert of(DataExpect, {"length": {"min": 1, "max": "1kB"}}) == DataExpect(length=Range(1, 1000))
    assert of(DataExpect, {"same_as": "sent"}) == DataExpect(same_as="sent")
    assert of(DataExpect, {"sha256": "AB" * 32}) == DataExpect(sha256="ab" * 32)
    assert str(of(DataExpect, {"length": {"max": 5}})) == "at most 5 bytes"


def test_ranges() -> None:
    assert of(Range, 3).holds(3)
    assert not of(Range, 3).holds(2)
    assert not of(Range, 3).holds(4)
    between = of(Range, {"min": 2, "max": 4})
    assert [n for n in range(7) if between.holds(n)] == [2, 3, 4]
    assert [str(of(Range, one)) for one in (3, {"min": 2}, {"max": 2}, {"min": 1, "max": 2})] == [
        "3",
        "at least 2",
        "at most 2",
        "1 to 2",
    ]
    assert of(Range, {"min": 0}).exact is None
    assert of(Range, 0).exact == 0
    assert "min 2 is above max 1" in said(Range, {"min": 2, "max": 1})
    assert "is not a number" in said(Range, True)


def test_elapsed() -> None:
    tolerance = Tolerance()
    assert of(Elapsed, "100ms").bounds(tolerance) == (99_000_000, 112_500_000)
    assert of(Elapsed, {"min": "90ms", "max": "150ms"}).bounds(tolerance) == (90_000_000, 150_000_000)
    assert of(Elapsed, {"max": "1s"}).bounds(tolerance) == (None, 10**9)
    rtt = of(Elapsed, "1.5rtt")
    assert rtt.needs_rtt
    assert rtt.bounds(tolerance, Duration.parse("10ms")) == (14_000_000, 19_000_000)
    with pytest.raises(ValueError, match="not known"):
        rtt.bounds(tolerance)
    assert "5 has no unit" in said(Elapsed, 5)


def test_matches() -> None:
    assert of(Match, "syn-ack") == Match(word="syn-ack")
    assert of(Match, ["ACK", "fin"]) == Match(flags=("fin", "ack"))
    assert of(Match, ["ACK", "fin"]).value == ("fin", "ack")
    assert "did you mean 'syn-ack'?" in said(Match, "synack")
    assert "not a TCP flag" in said(Match, ["ack", "foo"])


def test_addresses() -> None:
    assert of(Target, "server:8001") == Address("server", 8001)
    assert of(Target, "10.0.0.1:80").literal
    assert of(Target, "[2001:db8::1]:80") == Address("2001:db8::1", 80)
    assert str(of(Target, "[2001:db8::1]:80")) == "[2001:db8::1]:80"
    assert of(Party, "server") == Address("server")
    assert "has no port" in said(Target, "server")
    for wrong in ("server:", "server:0", "server:65536", ":80", "a:b:c", "[x]:80", "ser ver:80", 80):
        said(Target, wrong)


def test_output() -> None:
    text = parse_step(
        {"do": "run", "at": "a", "command": ["x"], "expect": {"stdout": "hi", "stderr": "/^b+$/"}}
    )
    assert isinstance(text, Run)
    assert text.expect is not None
    assert text.expect.stdout == TextMatch("hi", regex=False)
    assert text.expect.stdout.holds("hi\n")
    assert not text.expect.stdout.holds("hi there\n")
    assert text.expect.stderr is not None
    assert text.expect.stderr.holds("a\nbbb\n")
    assert not text.expect.stderr.holds("abbb\n")


def test_a_result_of_null_is_a_result() -> None:
    step = parse_step({"do": "sendall", "at": "a", "on": "c", "data": "x", "expect": {"result": None}})
    assert isinstance(step, Sendall)
    assert step.expect is not None
    assert step.expect.has_result
    other = parse_step({"do": "sendall", "at": "a", "on": "c", "data": "x", "expect": {"elapsed": "1s"}})
    assert isinstance(other, Sendall)
    assert other.expect is not None
    assert not other.expect.has_result


def test_aliases_of_words() -> None:
    kill = parse_step({"do": "kill", "at": "a", "signal": "SIGTERM"})
    assert isinstance(kill, Kill)
    assert kill.signal == "TERM"
    call = parse_step({"do": "connect", "at": "a", "to": "b:1", "expect": {"error": "EWOULDBLOCK"}})
    assert isinstance(call, Connect)
    assert call.expect is not None
    assert call.expect.error == "EAGAIN"
    check = parse_check({"check": "state", "at": "a", "state": "FIN-WAIT-1"})
    assert getattr(check, "state", None) == "FIN_WAIT1"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("SO_LINGER", 1, "SO_LINGER takes {onoff: 0 or 1, seconds: n}, or {hex: …}, not 1"),
        (
            "TCP_NODELAY",
            {"onoff": 1, "seconds": 0},
            "TCP_NODELAY takes true or false, or a number",
        ),
    ],
)
def test_the_value_of_linger_is_its_own(option: str, value: object, said: str) -> None:
    step = {"do": "setsockopt", "at": "a", "on": "c", "option": option, "value": value}
    with pytest.raises(ValidationError, match=re.escape(said)):
        parse_step(step)


def test_steps_by_hand() -> None:
    timeout = parse_step({"do": "settimeout", "at": "a", "on": "c", "value": "none"})
    assert isinstance(timeout, Settimeout)
    assert timeout.value is None
    linger = parse_step(
        {
            "do": "getsockopt",
            "at": "a",
            "on": "c",
            "option": "SO_LINGER",
            "expect": {"result": {"onoff": True, "seconds": 0}},
        }
    )
    assert isinstance(linger, Getsockopt)
    waits = parse_step({"do": "await", "id": "x"}, path="steps[4]")
    assert isinstance(waits, Await)
    assert (waits.awaits, waits.id) == ("x", "steps[4]")
    change = parse_step({"do": "link", "host": "a", "up": {"loss": "1%"}})
    assert isinstance(change, LinkStep)
    up, down = change.changes()
    assert up is not None
    assert up.loss == Percent.parse("1%")
    assert up.delay is None
    assert down is None
    assert parse_step({"do": "partition", "between": ["a", "b"]}).hosts() == ("a", "b")


@pytest.mark.parametrize(
    "keys",
    [
        {"do": "listen", "at": "a"},
        {"do": "listen", "at": "a", "on": "x", "port": 5},
        {"do": "connect", "at": "a", "to": "b:1", "expect": {"data": "x"}},
        {"do": "link", "host": "a"},
        {"do": "wait_for", "at": "a", "state": "LISTEN"},
        {"do": "partition", "between": ["a", "a"]},
        {"do": "nothing"},
        {"do": "drop", "from": "a", "to": "b", "match": "syn", "count": 0},
        {"do": "sendall", "at": "a", "on": "c", "data": {"hex": "00", "repeat": "x", "times": 1}},
        {"do": "listen", "at": "a", "port": None},
    ],
)
def test_a_wrong_step_by_hand(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse_step(keys)


def test_counts_are_not_negative_and_deltas_may_be() -> None:
    parse_check({"check": "counter", "at": "a", "name": "TcpCurrEstab", "delta": -1})
    with pytest.raises(ValidationError, match="not below 0"):
        parse_check({"check": "retransmissions", "from": "a", "to": "b", "count": -1})
