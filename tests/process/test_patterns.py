"""Patterns match as Python's `re` does, and never for long."""

from __future__ import annotations

import re
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import patterns
from lab.patterns import PatternTooSlow, search


@pytest.fixture(autouse=True)
def _quick_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "LIMIT", 0.3)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([r"a", r"^b$", r"(a+)(b*)", r"x(\d+)y", r"(?:ab)+|c{2,3}", r"^$", r"(a)|(b)"]),
    st.text("ab\ncxy01", max_size=60),
)
def test_what_is_found_is_what_re_finds(pattern: str, text: str) -> None:
    match = re.search(pattern, text, re.MULTILINE)
    found = None if match is None else (match.group(), *match.groups())
    assert search(pattern, text) == patterns._WORKER.ask(pattern, text) == found


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"(a|aa)+$", r"(.*)*x", r"^(\w+\s?)*$", "(a|a)" * 40 + "b"])
def test_a_pattern_that_never_ends_is_ended(pattern: str) -> None:
    began = time.monotonic()
    with pytest.raises(PatternTooSlow, match=re.escape(f"the pattern /{pattern}/ took longer than 0.3 s")):
        search(pattern, "a" * 5_000 + "!")
    assert time.monotonic() - began < 5
    assert search("b+c*", "xbc") == ("bc",)  # the next question has a new process


def test_one_repetition_on_a_long_text_is_not_done_here() -> None:
    with pytest.raises(PatternTooSlow):
        search("a.*b", "a" * 200_000)


def test_many_threads_may_ask_at_once() -> None:
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(search(r"(\d+)-(\d+)", f"x{n}-{n}")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(str(one) for one in found) == sorted(str((f"{n}-{n}", f"{n}", f"{n}")) for n in range(8))
