"""Small words that all reports share: cell widths, colour, harmless text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from textwrap import wrap

from lab.verdict import Verdict

#: ESC sequences first, then whatever else a terminal would obey (C0, C1, bidirectional overrides).
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

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
    "invert": "7",
}
_VERDICT_STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.ERROR: "magenta",
    Verdict.SKIP: "yellow",
}


class Paint:
    """Puts ANSI colour on text, or leaves it alone."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, text: str, *styles: str) -> str:
        if not self.colour or not styles or not text:
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def verdict(self, verdict: Verdict, width: int = 0) -> str:
        """The verdict's word, padded to `width` cells."""
        return self(verdict.value, "bold", _VERDICT_STYLE[verdict]) + " " * (width - len(verdict.value))


def clean(text: str, *, keep_newlines: bool = False) -> str:
    """`text` without anything that a terminal would obey; what is taken out shows as `·`."""
    text = _CONTROLS.sub("·", _ESCAPES.sub("·", text.replace("\r\n", "\n")))
    return text.replace("\t", "    ") if keep_newlines else text.replace("\n", "⏎").replace("\t", " ")


def cells(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells: padded, or cut with an ellipsis."""
    text = cut(text, width)
    space = " " * (width - cells(text))
    return space + text if right else text + space


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something is missing."""
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
    """`text` in at most so many lines of at most `width` cells; an ellipsis where there is more."""
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
