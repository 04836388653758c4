"""`lab init`: the first files of a user's own project."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.say import say


@click.command("init")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path())
def command(folder: Path) -> None:
    """Write a first scenario, its schema, lab.yml and CI files (GitHub, GitLab) into DIR (default: here).

    The CI files install this version of the lab, and keep its images between runs. A file that already exists
    is left alone.
    """
    from lab.project import begin

    begun = begin(folder)
    for path in begun.written:
        say(f"wrote {path}")
    for path in begun.left_alone:
        say(f"left {path} alone: it already exists")
    enter = "" if folder == Path() else f"cd {folder} && "
    say(f"next: {enter}lab run scenarios/first.yml")
