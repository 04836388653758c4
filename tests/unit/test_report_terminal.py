"""The terminal report and JUnit: what they say, at which width, with and without colour."""

from __future__ import annotations

import re
from pathlib import Path

from junitparser import JUnitXml

from lab.evidence.model import LinkProof
from lab.harmless import clean
from lab.place import Place
from lab.report import render, render_junit, render_suite
from lab.report.text import Paint, cells, cut, fit, tally
from lab.result import ErrorFacts
from lab.verdict import PacketRef, Verdict
from tests.unit.report_helpers import finding, result

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_a_pass_says_so_first_and_fits_80_columns() -> None:
    text = render(result(Verdict.PASS), width=80, folder=Path("runs/x"))
    lines = text.splitlines()
    assert lines[0].startswith("PASS  story[delay=5ms]")
    assert max(map(cells, lines)) <= 80
    assert "5 passed" in text
    assert "went wrong" not in text
    assert "open runs/x/report.html" in text


def test_a_failure_says_where_it_first_went_wrong() -> None:
    text = render(result(Verdict.FAIL), width=80, folder=Path("runs/x"))
    assert text.startswith("FAIL  ")
    block = text[text.index("It first went wrong here") :]
    assert "scenarios/story.yml:17:5: recv.error (steps[7])\n" in block
    assert re.search(r"expected +data\n", block)
    assert re.search(r"got +timeout after 1.00 s\n", block)
    assert "packets    client #6, #11\n" in block
    assert "lab report --diagram runs/x" in text


def test_lines_of_a_failure_are_never_wrapped_or_cut() -> None:
    long = "x" * 300
    failing = finding("bytes", Verdict.FAIL, 30, expected=long, actual=long + "y", reason="differs: " + long)
    text = render(result(Verdict.FAIL, findings=(failing,), reason="differs"), width=80)
    assert f"  expected   {long}\n" in text
    assert f"  got        {long}y\n" in text
    assert f"because    differs: {long}\n" in text


def test_colour_adds_nothing_but_colour() -> None:
    for verdict in Verdict:
        plain = render(result(verdict), width=80, colour=False)
        coloured = render(result(verdict), width=80, colour=True)
        assert "\x1b" not in plain
        assert coloured != plain
        assert ANSI.sub("", coloured) == plain
        assert plain.startswith(verdict.value)


def test_an_error_is_told_with_its_place_and_what_to_do() -> None:
    text = render(result(Verdict.ERROR), width=80)
    assert "The lab could not judge this (WireError)" in text
    assert "scenarios/story.yml:9:11: client up: delay asked for 50ms, tc says 25ms\n" in text
    assert "next: run `lab doctor`\n" in text


def test_a_contradicted_link_is_shown_and_others_only_when_asked_for() -> None:
    bad = LinkProof(
        "client", "server", None, "delay", "50ms", "25.1 ms", "p5 … p95", 40, "contradiction", 1e-9
    )
    fine = result().links[0]
    text = render(result(Verdict.ERROR, links=(fine, bad)), width=80)
    assert "CONTRADICTION client → server delay: 50ms configured, 25.1 ms measured of 40" in text
    assert "20ms configured" not in text
    assert "20ms configured" in render(result(links=(fine,)), width=80, verbose=True)


def test_a_skip_gives_its_reason() -> None:
    assert "Skipped: needs ipv6" in render(result(Verdict.SKIP), width=80)


def test_verbose_shows_expected_values_all_failures_and_phases() -> None:
    second = finding("close", Verdict.FAIL, 33, actual="rst", expected="fin", reason="closed by RST")
    both = result(Verdict.FAIL)
    both = result(Verdict.FAIL, findings=(*both.findings, second))
    short, long = render(both, width=80), render(both, width=80, verbose=True)
    assert "story.yml:33:5" not in short
    assert "story.yml:33:5: close" in long
    assert re.search(r"up +from +0.000 s +for +1.620 s", long)


def test_nothing_that_a_terminal_would_obey_gets_through() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe"
    failing = finding("recv.data", Verdict.FAIL, actual=evil, reason=evil)
    text = render(result(Verdict.FAIL, name="n" + evil, findings=(failing,), notes=(evil,)), width=80)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_a_suite_lists_all_shows_failures_in_full_and_counts() -> None:
    results = [result(name="a"), result(Verdict.FAIL, name="b"), result(Verdict.SKIP, name="c")]
    text = render_suite(results, width=80, folders=[Path("runs/a"), Path("runs/b"), None])
    lines = text.splitlines()
    assert [line[:8] for line in lines[:3]] == ["PASS  a ", "FAIL  b ", "SKIP  c "]
    assert "needs ipv6" in text
    assert text.count("It first went wrong here") == 1
    assert "runs/b/report.html" in text
    assert lines[-1].startswith("FAIL  3 cases: 1 passed, 1 failed, 1 skipped")


def test_the_time_of_a_suite_counts_what_ran_side_by_side_once() -> None:
    began = ("10:00:00.000", "10:00:01.000", "10:01:00.000")  # 2 s each: 0 to 2, 1 to 3, a minute later
    results = [result(name=at, started=f"2026-01-01T{at}+00:00", seconds=2.0) for at in began]
    assert render_suite(results, width=80).splitlines()[-1].endswith("3 passed  (5 s)")


def test_a_suite_of_skips_says_that_nothing_was_tested() -> None:
    assert "nothing was tested" in render_suite([result(Verdict.SKIP)], width=80)
    assert "nothing was tested" not in render_suite([result(), result(Verdict.SKIP)], width=80)
    assert "no case was run" in render_suite([], width=80)


def test_junit_counts_and_carries_the_details() -> None:
    verdicts = (Verdict.PASS, Verdict.FAIL, Verdict.FAIL, Verdict.ERROR, Verdict.SKIP)
    xml = JUnitXml.fromstring(
        render_junit([result(v, name=f"{v}{i}") for i, v in enumerate(verdicts)]).encode()
    )
    suite = next(iter(xml))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 2, 1, 1)
    cases = list(suite)
    assert cases[0].is_passed
    assert cases[1].is_failure
    assert "scenarios/story.yml:17:5: recv.error" in cases[1].result[0].text
    assert cases[3].is_error
    assert cases[3].result[0].type == "WireError"
    assert cases[4].is_skipped
    assert cases[1].classname == "scenarios.story"
    raw = render_junit([result()])
    assert '<property name="param.delay" value="5ms"' in raw
    assert '<property name="wire" value="uml"' in raw


def test_junit_survives_what_xml_cannot_carry() -> None:
    failing = finding("recv.data", Verdict.FAIL, actual="\x00\x1b<&\ud800", reason="\x01 bad ]]>")
    xml = render_junit([result(Verdict.FAIL, findings=(failing,), reason="\x01 bad")])
    assert JUnitXml.fromstring(xml.encode())


def test_an_error_without_a_place_and_a_failure_without_findings() -> None:
    bare = result(Verdict.ERROR, error=ErrorFacts("EngineError", "no engine answers"))
    assert "no engine answers" in render(bare, width=80)
    late = result(Verdict.FAIL, findings=(), reason="out of time at steps[3]")
    assert "out of time at steps[3]" in render(late, width=80)
    for each in (bare, late):
        assert JUnitXml.fromstring(render_junit([each]).encode())


def test_other_small_words() -> None:
    assert fit("abc", 5) == "abc  "
    assert fit("日本語テキスト", 6) == "日本… "
    assert cut("abcdef", 4) == "abc…"
    assert clean("a\nb\x07") == "a⏎b·"
    assert tally([]) == "nothing judged"
    assert Paint(False)("x", "red") == "x"


def test_packets_of_a_finding_are_listed_by_host() -> None:
    refs = (*(PacketRef("client", n) for n in range(1, 10)), PacketRef("server", 4))
    failing = finding("packets", Verdict.FAIL, packets=refs, place=Place("s.yml", 1, 1))
    text = render(result(Verdict.FAIL, findings=(failing,)), width=80)
    assert "client #1, #2, #3, #4, #5, #6 and 3 more · server #4" in text
