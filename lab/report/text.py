"""Text helpers that all reports share: cell widths, colour, tallies."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from textwrap import wrap

from lab.verdict import Verdict

MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.ERROR: "!", Verdict.SKIP: "–"}

_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_VERDICT_STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.ERROR: "magenta",
    Verdict.SKIP: "yellow",
}


class Paint:
    """Adds ANSI colour to text, or leaves it plain."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, text: str, *styles: str) -> str:
        if not self.colour or not styles or not text:
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def verdict(self, verdict: Verdict, width: int = 0) -> str:
        """The verdict's word, padded to `width` cells."""
        return self(verdict.value, "bold", _VERDICT_STYLE[verdict]) + " " * (width - len(verdict.value))


def cells(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def fit(text: str, width: int) -> str:
    """`text` in exactly `width` cells: padded, or cut with an ellipsis."""
    text = cut(text, width)
    return text + " " * (width - cells(text))


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis if something is missing."""
    if cells(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    taken, used = [], 0
    for character in text:
        size = cells(character)
        if used + size > width - 1:
            break
        taken.append(character)
        used += size
    return "".join(taken).rstrip() + "…"


def folded(text: str, width: int, lines: int = 2) -> tuple[str, ...]:
    """`text` in at most `lines` lines of at most `width` cells, with an ellipsis if more follows."""
    found = wrap(text, max(1, width)) or [text]
    return (
        tuple(found)
        if len(found) <= lines
        else (*found[: lines - 1], cut(" ".join(found[lines - 1 :]), width))
    )


def tally(verdicts: Iterable[Verdict]) -> str:
    """`11 passed, 1 failed`."""
    words = {
        Verdict.PASS: "passed",
        Verdict.FAIL: "failed",
        Verdict.ERROR: "in error",
        Verdict.SKIP: "skipped",
    }
    seen = list(verdicts)
    parts = [f"{n:,} {word}" for verdict, word in words.items() if (n := seen.count(verdict))]
    return ", ".join(parts) or "nothing judged"
