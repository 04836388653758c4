"""What the HTML report says of services."""

from __future__ import annotations

from msgspec.structs import replace

from lab.evidence.model import LogRecord, Records, ServiceRecord
from lab.report.services import services
from lab.verdict import LogRef, Verdict
from tests.unit.report_helpers import MS, ZERO, finding


def at(ms: float) -> int:
    return ZERO + round(ms * MS)


def line(ms: float, text: str, stream: str = "stdout") -> LogRecord:
    return LogRecord("web", "web", 1, at(ms), "stderr" if stream == "stderr" else "stdout", text)


WEB = ServiceRecord("web", "web", 1, "nginx:1", at(-20), at(-5))


def test_each_start_and_what_became_of_it() -> None:
    ended = replace(WEB, ended_wall_ns=at(90), exit_code=137, signal=9, ended_by="off")
    again = replace(WEB, start=2, health="healthy")
    first, second = services(Records({}, None, services=(ended, again)), (), ZERO)
    assert (first["started"], first["ready"], first["ended"]) == ("-20.00 ms", "-5.00 ms", "90.00 ms")
    assert first["outcome"] == "it was ended by signal 9 (exit status 137), by off"
    assert (second["name"], second["outcome"], second["ended"]) == ("web (start 2)", "it runs, healthy", "")
    assert not first["bad"]


def test_what_went_wrong_is_marked() -> None:
    alone = replace(finding("service.end", Verdict.FAIL, 9), reason="web: no step ended it")
    ended = replace(WEB, ended_wall_ns=at(90), exit_code=1)
    (found,) = services(Records({}, None, services=(ended,)), [alone], ZERO)
    assert found["bad"]
    (found,) = services(Records({}, None, services=(replace(WEB, not_ready="web: …"),)), (), ZERO)
    assert (found["bad"], found["outcome"]) == (True, "it runs, it was never ready")


def test_lines_have_their_stream_and_whether_a_check_matched_them() -> None:
    records = Records({}, None, services=(WEB,), logs=(line(1, "a\x1b[31m", "stderr"), line(2, "b")))
    matched = replace(finding("log", Verdict.PASS, 9), lines=(LogRef("web", "web", 1, at(2)),))
    (found,) = services(records, [matched], ZERO)
    first, second = found["lines"]
    assert (first["text"], first["stream"], first["matched"]) == ("a·", "stderr", False)
    assert (second["at"], second["matched"]) == ("2.00 ms", True)


def test_of_a_long_log_both_ends_are_shown() -> None:
    lines = tuple(line(number, f"line {number}") for number in range(1000))
    (found,) = services(Records({}, None, services=(WEB,), logs=lines), (), ZERO)
    assert (found["total"], found["left_out"], len(found["lines"])) == (1000, 600, 400)
    assert found["lines"][found["half"]]["text"] == "line 800"
