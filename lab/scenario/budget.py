"""How much work one file may make where one thing in it is multiplied by another: a budget for all its cases.

Each part of a file is bounded by itself. What is left is their product: a parameter's text in many places of
many cases, a large file in a thousand cases, a thousand misspelt names each compared with all that are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MAX_PUT_IN = 16 << 20  #: characters that parameters put into the texts of all cases of a file
MAX_CASE_VALUES = 1_000_000  #: values in all cases of a file together: 10 us each
MAX_COMPARED = 40_000  #: words of a file that are compared, to say which was meant: 20 to 50 us each


class OverBudget(Exception):
    """The file makes more of something than it may; `str` says of what."""


@dataclass
class Budget:
    """What is left of it."""

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
        """Whether so many words may be compared still; a suggestion that is not made hurts nobody."""
        if self.compared < words:
            return False
        self.compared -= words
        return True


_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budgeted() -> Iterator[Budget]:
    """One file is read inside."""
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
    """Raises `OverBudget`. Outside of a file there is no budget: what a command was given is its own."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.put(characters)
