"""`lab list`: the cases that can be run."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.options import parse_params
from lab.cli.say import say
from lab.harmless import json_text

if TYPE_CHECKING:
    from lab.scenario.load import Case


@click.command("list")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("-k", "keyword", metavar="TEXT", help="Only cases whose name contains TEXT.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only scenarios with one of these tags.")
@click.option("--param", "params", multiple=True, metavar="K=V", help="Only this value of a parameter.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def command(
    paths: tuple[Path, ...], keyword: str | None, tags: tuple[str, ...], params: tuple[str, ...], form: str
) -> None:
    """List the cases of scenarios (default: the folder scenarios/), with their summaries and tags."""
    from lab.runner.selection import Selection
    from lab.site import load_site

    selection = Selection(paths or (Path("scenarios"),), keyword, tags, parse_params(params))
    cases = selection.cases(load_site().policy)
    say(as_json(cases) if form == "json" else as_text(cases), nl=False)


def as_json(cases: list[Case]) -> str:
    entries = [
        {
            "name": case.name,
            "file": str(case.path),
            "params": {name: str(value) for name, value in case.params.items()},
            "summary": case.scenario.summary,
            "tags": list(case.scenario.tags),
        }
        for case in cases
    ]
    return json_text(entries, indent=2) + "\n"


def as_text(cases: list[Case]) -> str:
    """A block for each file: its path, what it shows, its tags, and its cases if it has several."""
    lines: list[str] = []
    for path in dict.fromkeys(case.path for case in cases):
        own = [case for case in cases if case.path == path]
        scenario = own[0].scenario
        lines.append(str(path))
        lines += textwrap.wrap(scenario.summary, 76, initial_indent="    ", subsequent_indent="    ")
        if scenario.tags:
            lines.append(f"    tags: {', '.join(scenario.tags)}")
        if len(own) > 1 or own[0].params:
            lines += [f"    - {case.name}" for case in own]
    lines.append(f"{len(cases)} cases in {len({case.path for case in cases})} files")
    return "\n".join(lines) + "\n"
