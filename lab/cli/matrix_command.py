"""`lab matrix`: a CI job for each scenario file, or for each case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import click
from msgspec import Struct, structs

from lab.cli.options import parse_params
from lab.cli.say import say
from lab.harmless import json_text
from lab.scenario.load import Case
from lab.scenario.tree import plain

_GITHUB_LIMIT = 256  #: jobs in one matrix, by GitHub's documentation of jobs.<job_id>.strategy.matrix


class Entry(Struct, frozen=True):
    """One job. `lab run` with `args` runs exactly the `cases` that were selected, no others."""

    name: str  #: unique in the matrix; also good as the name of a file or an artifact
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
    """Print a job matrix over scenarios (of the folder scenarios/ where none is named).

    For GitHub it is one line, {"include": [...]}; as json the list alone. Each entry has `name` (unique, for
    people and for files), `file`, `args` (the arguments of `lab run`) and `cases` (how many those are).
    """
    from lab.runner.selection import Selection
    from lab.site import load_site

    given = parse_params(params)
    cases = Selection(paths or (Path("scenarios"),), keyword, tags, given).cases(load_site().policy)
    entries = by_file(cases, given, keyword) if by == "file" else by_case(cases)
    say(as_github(entries) if form == "github" else as_json(entries))


def as_github(entries: Sequence[Entry]) -> str:
    """One line for `$GITHUB_OUTPUT`, to be read with `fromJSON`; raises `UsageError` for too many jobs."""
    if len(entries) > _GITHUB_LIMIT:
        from lab.errors import UsageError

        raise UsageError(
            f"{len(entries)} jobs: GitHub takes {_GITHUB_LIMIT} in one matrix",
            hint="use --by file, or choose with -k and --tag",
        )
    return json_text({"include": _plain(entries)})


def as_json(entries: Sequence[Entry]) -> str:
    return json_text(_plain(entries), indent=2)


def _plain(entries: Iterable[Entry]) -> list[dict[str, object]]:
    return [structs.asdict(entry) for entry in entries]


def by_file(cases: Sequence[Case], given: Mapping[str, str], keyword: str | None) -> list[Entry]:
    """A job for each file: all its cases, or those that `given` parameters and `keyword` left of them."""
    names = _Names()
    entries = []
    for path in dict.fromkeys(case.path for case in cases):
        own = [case for case in cases if case.path == path]
        # A parameter is named only to the files that have it: elsewhere `lab run` would refuse it.
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
    """A path that begins with a dash is a path all the same."""
    return (*narrowed, *(["--"] if str(path).startswith("-") else []), str(path))


def _one(case: Case) -> Iterator[str]:
    """The options that leave this case alone of its file's."""
    for name, value in case.params.items():
        yield f"--param={name}={value if isinstance(value, str) and _is_itself(value) else _flow(value)}"


def _is_itself(text: str) -> bool:
    """Whether a text stands for itself without quotes: `5ms` does, "5" and "[a" do not."""
    return text[:1] not in ("[", "{", '"', "'") and plain(text) == text


def _flow(value: object) -> str:
    """A value as YAML on one line, read back as the same."""
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
    """What a sweep adds to the name of a case: `[delay=5ms]`."""
    return case.name.removeprefix(case.scenario.name)


class _Names:
    """Names as file names, each once: files of different folders may come out alike."""

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
