"""The values that `record` kept over all cases of a scenario, as a table with the parameters first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from msgspec import Struct

from lab.harmless import clean
from lab.report.text import cut
from lab.result import Result


class Table(Struct, frozen=True):
    """One scenario's values, a row for each case."""

    scenario: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    params: int  #: how many of the columns are parameters


def tables_of(results: Sequence[Result]) -> Iterator[Table]:
    """One table for each scenario in which a case recorded something."""
    scenarios: dict[str, list[Result]] = {}
    for result in results:
        scenarios.setdefault(result.scenario, []).append(result)
    for scenario, own in scenarios.items():
        names = list(dict.fromkeys(name for result in own for name in result.values))
        if not names:
            continue
        params = list(dict.fromkeys(name for result in own for name in result.params))
        first = params or ["case"]
        rows = tuple(
            (
                *([str(result.params.get(name, "")) for name in params] or [result.name]),
                *(result.values.get(name, "–") for name in names),
                result.verdict.value,
            )
            for result in own
        )
        head = (*first, *names, "verdict")
        yield Table(PurePath(scenario).stem, head, rows, len(first))


def value_tables(results: Sequence[Result], width: int) -> Iterator[str]:
    """The tables as text, with numbers flush right; a line wider than `width` is cut."""
    for table in tables_of(results):
        cells = [[clean(cell) for cell in row] for row in (table.head, *table.rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(table.head))]
        lines = [f"Values of {clean(table.scenario)}"]
        for row in cells:
            parts = [
                cell.rjust(size) if at >= table.params and at < len(row) - 1 else cell.ljust(size)
                for at, (cell, size) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append(cut("  " + "  ".join(parts), width).rstrip())
        yield "\n".join(lines)
