"""`lab matrix`: a CI job for each case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lab.cli.options import parse_params
from lab.scenario.load import Case

_GITHUB_LIMIT = 256  #: jobs in one matrix, by GitHub's documentation of jobs.<job_id>.strategy.matrix


@click.command("matrix")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("-k", "keyword", metavar="TEXT", help="Only cases whose name contains TEXT.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only scenarios with one of these tags.")
@click.option("--param", "params", multiple=True, metavar="K=V", help="Only this value of a parameter.")
@click.option("--by", type=click.Choice(["file", "case"]), default="file", help="A job for each of these.")
@click.option("--format", "form", type=click.Choice(["github", "json"]), default="github")
def command(
    paths: tuple[Path, ...],
    keyword: str | None,
    tags: tuple[str, ...],
    params: tuple[str, ...],
    by: str,
    form: str,
) -> None:
    """Print a job matrix over scenarios: for GitHub one line `{"include": […]}`, as json the list alone.

    Each entry has `name` (for people and file names), `file`, `args` (for `lab run`) and `cases`.
    """
    from lab.runner.selection import Selection

    cases = Selection(paths or (Path("scenarios"),), keyword, tags, parse_params(params)).cases()
    entries = by_file(cases) if by == "file" else by_case(cases)
    if form == "github":
        if len(entries) > _GITHUB_LIMIT:
            from lab.errors import UsageError

            raise UsageError(
                f"{len(entries)} jobs: GitHub takes {_GITHUB_LIMIT} in one matrix",
                hint="use --by file, or choose with -k and --tag",
            )
        click.echo(json.dumps({"include": entries}, ensure_ascii=False, separators=(",", ":")))
    else:
        click.echo(json.dumps(entries, indent=2, ensure_ascii=False))


def _entry(name: str, path: Path, arguments: list[str], cases: int) -> dict[str, Any]:
    from lab.runner.folder import file_name

    return {"name": file_name(name), "file": path.as_posix(), "args": arguments, "cases": cases}


def by_file(cases: list[Case]) -> list[dict[str, Any]]:
    """A job for each file; a parameter that the selection narrowed to one value is named in `args`."""
    entries = []
    for path in dict.fromkeys(case.path for case in cases):
        own = [case for case in cases if case.path == path]
        stem = path.with_suffix("").as_posix().removeprefix("scenarios/").replace("/", "-")
        entries.append(_entry(stem, path, [path.as_posix()], len(own)))
    return entries


def by_case(cases: list[Case]) -> list[dict[str, Any]]:
    """A job for each case, its parameters in `args`."""
    return [
        _entry(
            case.name,
            case.path,
            [case.path.as_posix(), *(f"--param={name}={value}" for name, value in case.params.items())],
            1,
        )
        for case in cases
    ]
