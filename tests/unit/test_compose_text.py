"""Compose's texts: interpolation, files of variables, durations, sizes, commands, volumes."""

from __future__ import annotations

import pytest
from pydantic_core import PydanticCustomError

from lab.scenario.compose import dotenv
from lab.scenario.compose.interpolate import BadTemplate, interpolate
from lab.scenario.compose.words import VolumeShort, parse_bytes, parse_duration, parse_volume


def nothing(name: str) -> str | None:
    return None


VALUES = {"A": "1", "EMPTY": "", "B": "two words"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("no dollar", "no dollar"),
        ("$A", "1"),
        ("${A}", "1"),
        ("x$A.y", "x1.y"),
        ("$A$A", "11"),
        ("$$A", "$A"),
        ("$$$A", "$1"),
        ("$${A}", "${A}"),
        ("$NONE-x", "-x"),
        ("${A:-d}", "1"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NONE:-d}", "d"),
        ("${NONE-d}", "d"),
        ("${NONE:-}", ""),
        ("${A:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${NONE+alt}", ""),
        ("${A:?why}", "1"),
        ("${EMPTY?why}", ""),
        ("${NONE:-${A:-x}y}", "1y"),
        ("${NONE:-${EMPTY:-${A}}}", "1"),
        ("${NONE:-http://u:p@h/${A}?q}", "http://u:p@h/1?q"),
        ("${NONE:-a b $B}", "a b two words"),
        ("${A:+{x}", "{x"),
    ],
)
def test_interpolation(text: str, filled: str) -> None:
    assert interpolate(text, VALUES.get, lambda name: None) == filled


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${A", "without '}'"),
        ("$", "is not a variable"),
        ("$1", "is not a variable"),
        ("${1}", "is not a variable"),
        ("${A B}", "is not a variable"),
        ("${}", "is not a variable"),
        ("${NONE:?say $A}", "NONE must be set: say 1"),
        ("${EMPTY:?why}", "EMPTY must be set: why"),
        ("${NONE?}", "NONE must be set"),
    ],
)
def test_what_cannot_be_interpolated(text: str, why: str) -> None:
    with pytest.raises(BadTemplate, match=why.replace("$", r"\$")):
        interpolate(text, VALUES.get, lambda name: None)


def test_only_what_is_unset_and_has_no_default_is_told() -> None:
    told: list[str] = []
    interpolate("$X ${Y} ${Z:-d} ${A} ${V+x}", VALUES.get, told.append)
    assert told == ["X", "Y"]


def test_a_file_of_variables() -> None:
    text = """# comment
A=1
 B = two words # inline
export C='single $A'
D="double ${A} \\n \\"nl\\""
E=${A:-x}${NOPE:-dflt}
F=
G=a#b
H: colon
M="line1
line2"
OUT
GONE
I=$OUT
"""
    assert dotenv.parse(text, lambda name: "side" if name == "OUT" else None) == {
        "A": "1",
        "B": "two words",
        "C": "single $A",
        "D": 'double 1 \n "nl"',
        "E": "1dflt",
        "F": "",
        "G": "a#b",
        "H": "colon",
        "M": "line1\nline2",
        "OUT": "side",
        "I": "side",
    }


def test_what_stands_outside_comes_before_the_file() -> None:
    values = dotenv.parse("A=file\nB=$A", lambda name: "outside" if name == "A" else None)
    assert values["B"] == "outside"


def test_a_raw_file_is_taken_as_it_is() -> None:
    assert dotenv.parse('R=${A} "x" #y\n', nothing, raw=True) == {"R": '${A} "x" #y'}


@pytest.mark.parametrize(("text", "line"), [("A=1\n=x", 2), ("A=1\n\nB C", 3), ('A="x', 1)])
def test_a_line_that_is_none(text: str, line: int) -> None:
    with pytest.raises(dotenv.BadLine) as caught:
        dotenv.parse(text, nothing)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("1h5m30s20ms", 3930.02), ("1.5h", 5400), ("500us", 0.0005), ("2d", 172800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text).seconds == seconds


@pytest.mark.parametrize("text", ["10", "1m 30s", "s", "", "-1s", "1x", 10, True, None])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 5_000 + "s", "21d", "999999999999999999999h", "1s" * 200])
def test_a_duration_has_an_end(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="at most 1,728,000 s") as caught:
        parse_duration(text)
    assert len(str(caught.value)) < 300


def test_sizes_are_of_1024() -> None:
    assert [parse_bytes(text) for text in ("1024", "2k", "64m", "1gb", 5)] == [
        1024,
        2048,
        64 << 20,
        1 << 30,
        5,
    ]


@pytest.mark.parametrize(
    ("text", "volume", "bind"),
    [
        ("/data", VolumeShort(None, "/data"), False),
        ("data:/data", VolumeShort("data", "/data"), False),
        ("data:/data:nocopy", VolumeShort("data", "/data", nocopy=True), False),
        ("./a:/b:ro,z", VolumeShort("./a", "/b", read_only=True), True),
        ("../a:/b", VolumeShort("../a", "/b"), True),
        ("/a:/b:rw", VolumeShort("/a", "/b"), True),
        ("~/a:/b", VolumeShort("~/a", "/b"), True),
    ],
)
def test_volumes(text: str, volume: VolumeShort, bind: bool) -> None:
    assert parse_volume(text) == volume
    assert volume.is_bind is bind


@pytest.mark.parametrize("text", ["", "a:b", "a:/b:c:d", "a:/b:wrong", ":/b", "a:"])
def test_what_is_no_volume(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        parse_volume(text)
