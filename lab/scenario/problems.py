"""Problems of a scenario file: one line each, with its place, and all of a file at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from msgspec import Struct

from lab.errors import UsageError
from lab.harmless import visible
from lab.place import Place
from lab.scenario.budget import may_compare

_LONG = 64  #: characters of a word that is compared with others
_MANY = 300  #: words that one is compared with: 1,400 of them times 1,400 took 17 s
SHOWN = 200  #: problems that are told; a file with more has one cause
_LONGEST_LINE = 2_000  #: characters of a problem that are shown


def nearest(value: object, words: Iterable[str]) -> str | None:
    """The word that was probably meant, if one is near. Many or long words are not compared."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONG:
        return None
    known = tuple(words)
    if len(known) > _MANY:
        return None
    asked = value, known
    if asked not in _ASKED:
        if not may_compare(len(known)):
            return None
        if len(_ASKED) >= _REMEMBERED:
            _ASKED.clear()
        _ASKED[asked] = _nearest(value, known)
    return _ASKED[asked]


_REMEMBERED = 4096
_ASKED: dict[tuple[str, tuple[str, ...]], str | None] = {}  #: a slip in a thousand steps is compared once


def _nearest(value: str, words: tuple[str, ...]) -> str | None:
    by_lower = {word.lower(): word for word in words}
    near = difflib.get_close_matches(value.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(value: object, words: Iterable[str]) -> str:
    """` (did you mean 'connect'?)`, or nothing where no word is near."""
    near = nearest(value, words)
    return f" (did you mean {near!r}?)" if near is not None else ""


def path_text(path: Iterable[str | int]) -> str:
    """`steps[2].expect.elapsed`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Problem(Struct, frozen=True):
    """One thing that is wrong: where, what, what is allowed. `path` is like `steps[2].expect.data`."""

    place: Place
    path: str
    text: str

    def __str__(self) -> str:
        where = str(self.place) if self.place.line else self.place.file
        line = f"{where}: {self.path}: {self.text}" if self.path else f"{where}: {self.text}"
        if len(line) > _LONGEST_LINE:
            line = f"{line[:_LONGEST_LINE]}… ({len(line) - _LONGEST_LINE} characters more)"
        return visible(line)


def order(problem: Problem) -> tuple[str, int, int, str, str]:
    """By place, then by path."""
    place = problem.place
    return place.file, place.line, place.column, problem.path, problem.text


class ScenarioError(UsageError):
    """All that is wrong in one or more scenario files; its text has one line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=order))
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"… and {len(self.problems) - SHOWN:,} more problems")
        super().__init__("\n".join(lines))
