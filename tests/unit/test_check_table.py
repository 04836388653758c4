"""The table of judges, the words of findings, and that mutants contradict what they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.checks import JUDGES, judge
from lab.checks.common import Context, hold_count, hold_time
from lab.checks.expect import hold_elapsed
from lab.scenario.checks import CHECKS, ServiceCheck, ValueCheck, parse_check
from lab.scenario.ranges import Elapsed, Range
from lab.tolerance import Tolerance
from lab.units import Duration
from lab.verdict import Verdict
from tests.unit.check_helpers import Story
from tools.mutation.mutations import ranges, times

WIDTHS = st.tuples(st.integers(0, 50), st.integers(0, 50))


def test_every_check_has_a_judge_but_that_of_values() -> None:
    assert set(CHECKS.values()) - set(JUDGES) <= {ValueCheck}


def test_a_check_that_nobody_can_judge_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(cast(dict[type, object], JUDGES), ServiceCheck)
    evidence = Story(tmp_path).evidence()
    finding = judge(
        parse_check({"check": "service", "at": "server", "exit": 0}), evidence, Context.of(evidence.records)
    )
    assert finding.verdict is Verdict.ERROR
    assert finding.reason


@given(low=st.integers(0, 10**9), width=st.integers(0, 10**9), actual=st.integers(0, 3 * 10**9))
def test_a_time_holds_exactly_within_its_limits(low: int, width: int, actual: int) -> None:
    held = hold_time(actual, "x", low, low + width, "", "it")
    assert held.ok == (low <= actual <= low + width)
    assert held.ok == (not held.margin.startswith("-"))
    assert held.ok == (held.reason == "")


@given(count=st.integers(0, 100), bounds=WIDTHS)
def test_a_count_holds_exactly_within_its_limits(count: int, bounds: tuple[int, int]) -> None:
    wanted = Range(bounds[0], sum(bounds))
    held = hold_count(wanted, count, "things")
    assert held.ok == (bounds[0] <= count <= sum(bounds))
    assert bool(held.reason) == (not held.ok)


@given(bounds=WIDTHS, kind=st.sampled_from(["exact", "both", "min", "max"]), inside=st.integers(0, 50))
def test_a_mutated_count_excludes_all_that_held(bounds: tuple[int, int], kind: str, inside: int) -> None:
    low, high = bounds[0], sum(bounds)
    value = {
        "exact": Range.exactly(low),
        "both": Range(low, high),
        "min": Range(low, None),
        "max": Range(None, high),
    }[kind]
    for _, mutant in ranges(value):
        assert not (value.holds(inside) and mutant.holds(inside))


@settings(max_examples=50)
@given(ms=st.integers(11, 100_000))
def test_twice_and_half_of_a_time_do_not_hold_for_it(ms: int) -> None:
    """From 11 ms on: below it, half and 4 ms more is the time itself."""
    value = Elapsed(exact=Duration(ms * 1_000_000))
    assert hold_elapsed(value, ms * 1_000_000, None, Tolerance(), "it").ok
    mutants = [mutant for _, mutant in times(value)]
    assert len(mutants) == 2
    assert not any(hold_elapsed(m, ms * 1_000_000, None, Tolerance(), "it").ok for m in mutants)


def test_the_other_side_of_a_single_bound() -> None:
    at_most = Elapsed(max=Duration(5))
    ((said, mutant),) = times(at_most)
    assert mutant == Elapsed(min=Duration(5))
    assert said == "at least 5ns instead of at most 5ns"
