"""Counts the falsified expectations that the lab notices, one flipped at a time in a stored run.

    python -m tools.mutation runs/latest     one case, or a folder of many

An expectation that can be changed without a check failing proves nothing. Exit status 1 if fewer than 95 %
are caught; the survivors are listed with what was measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lab.errors import LabError, UsageError
from lab.result import RESULT_FILE, read_result
from lab.verdict import Verdict
from tools.mutation.mutate import mutate, total

AT_LEAST = 0.95


@click.command()
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs/latest"))
def main(run: Path) -> None:
    """Falsify the expectations of RUN one at a time, and judge its evidence by each. Needs no Docker."""
    try:
        caught, of = _judge(run)
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    share = caught / of if of else 1.0
    click.echo(f"{caught} of {of} falsified expectations caught ({100 * share:.1f} %)")
    sys.exit(0 if share >= AT_LEAST else 1)


def _judge(run: Path) -> tuple[int, int]:
    """Prints the fate of each passed case's mutants; returns how many were caught and how many there were."""
    folders = (
        [run] if (run / RESULT_FILE).is_file() else [p.parent for p in sorted(run.glob(f"*/{RESULT_FILE}"))]
    )
    if not folders:
        raise UsageError(f"{run}: no {RESULT_FILE} in it: not a run folder")
    mutations = []
    for folder in folders:
        result = read_result(folder)
        if result.verdict is not Verdict.PASS:
            click.echo(f"{result.name}: left out: it ended in {result.verdict}")
            continue
        mutations.append(mutate(folder))
        click.echo(mutations[-1].text())
    return total(mutations)


if __name__ == "__main__":
    main()
