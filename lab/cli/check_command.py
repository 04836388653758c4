"""`lab check`: are these scenarios valid?"""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.options import parse_params
from lab.cli.say import say


@click.command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--param", "params", multiple=True, metavar="K=V", help="Only this value of a parameter.")
def command(paths: tuple[Path, ...], params: tuple[str, ...]) -> None:
    """Validate scenarios and report all errors of all files at once. Needs no Docker.

    Exit status 2 if there is an error.
    """
    from lab.scenario.load import load_all, noted
    from lab.site import load_site

    cases = load_all(paths, params=parse_params(params), policy=load_site().policy)
    for note in noted(cases):
        say(note)
    files = len({case.path for case in cases})
    say(f"{files} file{'s' * (files != 1)}, {len(cases)} case{'s' * (len(cases) != 1)}: valid")
