"""`lab matrix`: a job for each file or case, whose arguments select exactly what the job stands for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from lab.cli import cli
from lab.cli.options import parse_params
from lab.cli.run_command import command as run_command
from lab.errors import UsageError
from lab.runner.selection import Selection
from lab.site import load_site

ROOT = Path(__file__).parents[2]

#: Values that are easily read back as something else.
AWKWARD = """\
lab: 1
name: awkward
params:
  delay: [5ms, 100ms]
  text: ["5", "012", "yes no", "it's", 'say "so"', "[a", "{b", "true", "a=b", "-x", "5 # no", "ü", "a\\tb"]
  number: [5, 1.50, true]
  link: [{loss: 1%}, {loss: 5%, delay: 1.5s}]
  flags: [[syn], [syn, ack]]
hosts:
  client: {link: {up: "${link}", down: {delay: "${delay}"}}}
steps:
  - {do: sleep, for: 1ms}
x-used: ["${text}", "${number}", "${flags}"]
"""

PLAIN = """\
lab: 1
tags: [{tag}]
steps:
  - {{do: sleep, for: 1ms}}
"""

POLICY = load_site(Path(__file__).parents[2] / "lab.yml").policy


def matrix(*arguments: str | Path) -> list[dict[str, Any]]:
    """The list that `lab matrix --format json` prints; errors are raised."""
    done = CliRunner().invoke(
        cli, ["matrix", "--format", "json", *map(str, arguments)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    entries = json.loads(done.stdout)
    assert isinstance(entries, list)
    return entries


def selected(entry: dict[str, Any]) -> list[str]:
    """The cases that `lab run` would run for an entry, by its own parsing of the arguments."""
    lab = click.Context(cli, info_name="lab", **cli.context_settings)
    with run_command.make_context("run", list(entry["args"]), lab) as context:
        given = context.params
        selection = Selection(given["paths"], given["keyword"], given["tags"], parse_params(given["params"]))
        return [case.name for case in selection.cases(POLICY)]


@pytest.fixture
def scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wide sweep and three small files, two of them with one name."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "scenarios"
    for name, tag in (("a/same", "odd"), ("b/same", "even"), ("a-same", "odd")):
        path = folder / f"{name}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PLAIN.format(tag=tag), encoding="utf-8")
    (folder / "awkward.yml").write_text(AWKWARD, encoding="utf-8")
    return Path("scenarios")


def test_each_shipped_file_is_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    entries = matrix()
    files = sorted(path.as_posix() for path in Path("scenarios").rglob("*.yml"))
    assert sorted(entry["file"] for entry in entries) == files
    assert sum(entry["cases"] for entry in entries) == len(Selection([Path("scenarios")]).cases(POLICY))
    assert "close-half-close" in {entry["name"] for entry in entries}


def test_each_shipped_case_is_selected_by_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cases = Selection([Path("scenarios/connect")]).cases(POLICY)
    assert any(case.params for case in cases)
    assert [selected(entry) for entry in matrix("scenarios/connect", "--by", "case")] == [
        [case.name] for case in cases
    ]


def test_awkward_values_come_back_as_they_were(scenarios: Path) -> None:
    """Each case alone, by its own arguments; one parameter at a time, else there are hundreds."""
    fixed = {"delay": "5ms", "text": "yes no", "number": "5", "link": "{loss: 1%}", "flags": "[syn]"}
    path = scenarios / "awkward.yml"
    for free in fixed:
        options = [f"{name}={value}" for name, value in fixed.items() if name != free]
        cases = Selection([path], params=parse_params(options)).cases()
        entries = matrix(path, "--by", "case", *(f"--param={option}" for option in options))
        assert len(entries) == len(cases) > 1
        for case, entry in zip(cases, entries, strict=True):
            assert selected(entry) == [case.name]
            again = [word.removeprefix("--param=") for word in entry["args"] if word.startswith("--param=")]
            (alone,) = Selection([path], params=parse_params(again)).cases()
            assert alone.params == case.params
            assert [type(one) for one in alone.params.values()] == [type(one) for one in case.params.values()]


def test_a_job_of_a_file_runs_what_was_selected_and_no_more(scenarios: Path) -> None:
    path = scenarios / "awkward.yml"
    given = ("--param=text=012", "--param=number=5", "--param=link={loss: 1%}", "-k", "delay=5ms")
    (entry,) = matrix(path, *given)
    assert entry["cases"] == 2
    assert selected(entry) == [
        f"awkward[delay=5ms,text=012,number=5,link={{loss: 1%}},flags={flags}]"
        for flags in ("[syn]", "[syn, ack]")
    ]


def test_a_parameter_is_named_only_to_files_that_have_it(scenarios: Path) -> None:
    by_file = {entry["file"]: entry for entry in matrix(scenarios, "--param=delay=5ms")}
    assert by_file["scenarios/awkward.yml"]["args"] == ["--param=delay=5ms", "scenarios/awkward.yml"]
    assert by_file["scenarios/a/same.yml"]["args"] == ["scenarios/a/same.yml"]
    assert all(len(selected(entry)) == entry["cases"] for entry in by_file.values())


@pytest.mark.parametrize("keyword", ["-x", "same"])
def test_a_keyword_goes_along(scenarios: Path, keyword: str) -> None:
    entries = matrix(scenarios, "-k", keyword)
    assert entries
    for entry in entries:
        names = selected(entry)
        assert len(names) == entry["cases"]
        assert all(keyword in name for name in names)


def test_tags_select(scenarios: Path) -> None:
    assert [entry["file"] for entry in matrix(scenarios, "--tag", "odd")] == [
        "scenarios/a/same.yml",
        "scenarios/a-same.yml",
    ]


@pytest.mark.parametrize("by", ["file", "case"])
def test_names_are_unique_and_good_for_artifacts(scenarios: Path, by: str) -> None:
    """What actions/upload-artifact refuses: \" : < > | * ? and slashes; two artifacts of one name too."""
    names = [entry["name"] for entry in matrix(scenarios, "--by", by)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=,+-]*", name) for name in names)
    assert len([name for name in names if name.startswith("a-same")]) == 2


def test_a_path_that_looks_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-k.yml").write_text(PLAIN.format(tag="odd"), encoding="utf-8")
    (entry,) = matrix("--", "-k.yml")
    assert entry["args"] == ["--", "-k.yml"]
    assert selected(entry) == ["-k"]


def test_for_github_it_is_one_line(scenarios: Path) -> None:
    done = CliRunner().invoke(cli, ["matrix", "--tag", "odd"], catch_exceptions=False)
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout) == {"include": matrix("--tag", "odd")}


def test_more_jobs_than_github_takes(scenarios: Path) -> None:
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(cli, ["matrix", "--by", "case"], catch_exceptions=False, standalone_mode=False)
    assert str(caught.value) == "315 jobs: GitHub allows 256 in one matrix"
    assert caught.value.hint == "use --by file, or select cases with -k and --tag"
    assert len(matrix("--by", "case")) == 315  # other CI systems may take them


def test_nothing_selected(scenarios: Path) -> None:
    with pytest.raises(UsageError, match="nothing to run: none of 315 cases matches --tag seven") as caught:
        CliRunner().invoke(cli, ["matrix", "--tag", "seven"], catch_exceptions=False)
    assert caught.value.exit_code == 2
