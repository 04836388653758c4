"""`lab recheck`: a stored run, judged again."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.options import colour
from lab.cli.say import say
from lab.cli.stored import run_folder


@click.command("recheck")
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs/latest"))
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judge by this file's expectations and checks; it may differ in nothing else.",
)
@click.option("-v", "--verbose", is_flag=True, help="Every step and check, including those that passed.")
@colour
def command(run: Path, scenario: Path | None, verbose: bool, color: bool) -> int:
    """Judge a stored run again: the steps' expectations and the checks. Needs no Docker, writes nothing.

    The exit status is that of the new verdict, or 2 if FILE differs in more than expectations and checks.
    """
    from lab.judging.recheck import recheck, recheck_file
    from lab.report import render

    folder = run_folder(run)
    result = recheck(folder) if scenario is None else recheck_file(folder, scenario)
    say(render(result, colour=color, verbose=verbose, folder=folder), nl=False, colour=color)
    return result.verdict.exit_code
