"""A budget for the work that one file may cause, over all its cases.

Each part of a file is bounded on its own. The budget bounds their products: a parameter's text in many places
of many cases, a large file in a thousand cases, a thousand misspelt names each compared with all known names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MAX_PUT_IN = 16 << 20  #: characters that parameters put into the texts of all cases of a file
MAX_CASE_VALUES = 1_000_000  #: values in all cases of a file together: 10 us each
MAX_COMPARED = 40_000  #: comparisons of words, to suggest which was meant: 20 to 50 us each


class OverBudget(Exception):
    """The file exceeds its budget; `str` says what there is too much of."""


@dataclass
class Budget:
    """What is left of the budget of one file."""

    put_in: int = MAX_PUT_IN
    values: int = MAX_CASE_VALUES
    compared: int = MAX_COMPARED

    def put(self, characters: int) -> None:
        self.put_in -= characters
        if self.put_in < 0:
            raise OverBudget(
                f"parameters put more than {MAX_PUT_IN:,} characters into the cases of this file"
            )

    def case(self, values: int) -> None:
        self.values -= values
        if self.values < 0:
            raise OverBudget(f"the cases of this file have more than {MAX_CASE_VALUES:,} values together")

    def compares(self, words: int) -> bool:
        """Whether so many more words may be compared; a missing suggestion does no harm."""
        if self.compared < words:
            return False
        self.compared -= words
        return True


_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budgeted() -> Iterator[Budget]:
    """The budget of one file, read inside the block."""
    budget = Budget()
    token = _CURRENT.set(budget)
    try:
        yield budget
    finally:
        _CURRENT.reset(token)


def may_compare(words: int) -> bool:
    budget = _CURRENT.get()
    return budget is None or budget.compares(words)


def put_in(characters: int) -> None:
    """Count characters put into texts. Raises `OverBudget`; outside `budgeted` nothing is counted."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.put(characters)
