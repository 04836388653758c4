"""`lab matrix`: a CI job for each scenario file, or for each case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct, structs

from lab.cli.options import parse_params
from lab.cli.say import say
from lab.harmless import json_text

if TYPE_CHECKING:
    from lab.scenario.load import Case

_GITHUB_LIMIT = 256  #: jobs in one matrix, from GitHub's documentation of jobs.<job_id>.strategy.matrix


class Entry(Struct, frozen=True):
    """One job: `lab run` with `args` runs exactly the selected `cases`."""

    name: str  #: unique in the matrix; also valid as the name of a file or an artifact
    file: str
    args: tuple[str, ...]
    cases: int


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
    """Print a CI job matrix over scenarios (default: the folder scenarios/).

    For GitHub it is one line, {"include": [...]}; as json it is the list alone. Each entry has `name` (unique
    and valid as a file name), `file`, `args` (the arguments of `lab run`) and `cases` (their number).
    """
    from lab.runner.selection import Selection
    from lab.site import load_site

    given = parse_params(params)
    cases = Selection(paths or (Path("scenarios"),), keyword, tags, given).cases(load_site().policy)
    entries = by_file(cases, given, keyword) if by == "file" else by_case(cases)
    say(as_github(entries) if form == "github" else as_json(entries))


def as_github(entries: Sequence[Entry]) -> str:
    """One line for `$GITHUB_OUTPUT`, read there with `fromJSON`; raises `UsageError` for too many jobs."""
    if len(entries) > _GITHUB_LIMIT:
        from lab.errors import UsageError

        raise UsageError(
            f"{len(entries)} jobs: GitHub allows {_GITHUB_LIMIT} in one matrix",
            hint="use --by file, or select cases with -k and --tag",
        )
    return json_text({"include": _plain(entries)})


def as_json(entries: Sequence[Entry]) -> str:
    return json_text(_plain(entries), indent=2)


def _plain(entries: Iterable[Entry]) -> list[dict[str, object]]:
    return [structs.asdict(entry) for entry in entries]


def by_file(cases: Sequence[Case], given: Mapping[str, str], keyword: str | None) -> list[Entry]:
    """A job for each file: all its cases, or those that `given` parameters and `keyword` select."""
    names = _Names()
    entries = []
    for path in dict.fromkeys(case.path for case in cases):
        own = [case for case in cases if case.path == path]
        # A parameter is passed only for a file that has it: for any other, `lab run` would refuse it.
        narrowed = [f"--param={name}={text}" for name, text in given.items() if name in own[0].params]
        if keyword:
            narrowed.append(f"-k{keyword}")
        entries.append(Entry(names.new(_stem(path)), str(path), _args(path, narrowed), len(own)))
    return entries


def by_case(cases: Sequence[Case]) -> list[Entry]:
    """A job for each case, its parameters in `args`."""
    names = _Names()
    return [
        Entry(names.new(_stem(case.path) + _label(case)), str(case.path), _args(case.path, _one(case)), 1)
        for case in cases
    ]


def _args(path: Path, narrowed: Iterable[str]) -> tuple[str, ...]:
    """A path and its options; a path that begins with a dash is not taken for an option."""
    return (*narrowed, *(["--"] if str(path).startswith("-") else []), str(path))


def _one(case: Case) -> Iterator[str]:
    """The options that select this case alone among its file's."""
    for name, value in case.params.items():
        yield f"--param={name}={value if isinstance(value, str) and _is_itself(value) else _flow(value)}"


def _is_itself(text: str) -> bool:
    """Whether YAML reads a text as itself without quotes: `5ms` yes, "5" and "[a" no."""
    from lab.scenario.tree import plain

    return text[:1] not in ("[", "{", '"', "'") and plain(text) == text


def _flow(value: object) -> str:
    """A value as YAML on one line that reads back as the same value."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)}: {_flow(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case Decimal():  # 1.50 stays 1.50
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _stem(path: Path) -> str:
    """`scenarios/close/half-close.yml` → `close/half-close`."""
    return path.with_suffix("").as_posix().removeprefix("scenarios/")


def _label(case: Case) -> str:
    """The part of a case's name that a sweep adds: `[delay=5ms]`."""
    return case.name.removeprefix(case.scenario.name)


class _Names:
    """Names as unique file names: files of different folders may come out the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, text: str) -> str:
        from lab.session.folder import file_name

        base = name = file_name(text)
        number = 2
        while name in self._taken:
            name, number = f"{base}-{number}", number + 1
        self._taken.add(name)
        return name
