"""`lab init` and `lab schema --write`: a project's first files are good, and nothing is overwritten."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from click.testing import CliRunner

from lab import __version__, cli
from lab.engine.images import sources
from lab.project import SCHEMA, TEMPLATES
from lab.resources import PROJECT_TEMPLATES
from lab.scenario import tree
from lab.scenario.params import plain_data
from lab.site import load_site
from tests.process.workflow_steps import ROOT, WORKFLOW, Runner, read_workflow, shell_steps, the_step

GITHUB = Path(".github/workflows/lab.yml")
GITLAB = Path(".gitlab-ci.yml")
#: The shell lines that tests/lab/test_wheel.py runs, with a wheel and with Docker.
RUN_THERE = {"Install", "Load", "Build", "Save", "Run", "Summary"}
RUN_HERE = {"Check", "Tags"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `lab init` was run."""
    monkeypatch.chdir(tmp_path)
    assert lab("init") == 0
    return tmp_path


def lab(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_template_is_used() -> None:
    assert sorted(TEMPLATES.values()) == sorted(path.name for path in PROJECT_TEMPLATES.iterdir())


def test_it_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a" / "b"
    assert lab("init", str(folder)) == 0
    wrote = {str(path) for path in (*TEMPLATES, SCHEMA)}
    assert set(contents(folder)) == wrote
    assert capsys.readouterr().out.splitlines() == [
        *(f"wrote {folder / path}" for path in (*TEMPLATES, SCHEMA)),
        f"next: cd {folder} && lab run scenarios/first.yml",
    ]


def test_what_is_there_is_left_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "lab.yml").write_text("timeout: 5s\n")
    (project / SCHEMA).unlink()
    (project / GITLAB).unlink()
    (project / GITLAB).symlink_to("gone.yml")
    before = contents(project)
    capsys.readouterr()
    assert lab("init") == 0
    assert contents(project) == {**before, str(SCHEMA): contents(project)[str(SCHEMA)]}
    assert (project / GITLAB).is_symlink()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"wrote {SCHEMA}"
    assert said[1:-1] == [f"left {path} alone: it already exists" for path in TEMPLATES]


@pytest.mark.parametrize("path", [Path("lab.yml"), Path("scenarios")])
def test_what_is_in_the_way_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    if path.suffix:
        path.mkdir()
    else:
        path.write_text("a file")
    assert lab("init") == 2
    assert re.search(rf"^{re.escape(str(path))}.*: cannot be written", capsys.readouterr().err, re.MULTILINE)


def test_the_scenario_is_valid_and_its_first_line_leads_to_the_schema(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lab("check", "scenarios") == 0
    scenario = project / "scenarios" / "first.yml"
    text = scenario.read_text(encoding="utf-8")
    (schema,) = re.findall(r"\A# yaml-language-server: \$schema=(\S+)$", text, re.MULTILINE)
    validator = jsonschema.Draft202012Validator(json.loads((scenario.parent / schema).read_bytes()))
    root, _ = tree.parse(text, "first.yml")
    assert isinstance(root, tree.Mapping)
    data = plain_data(root)
    validator.validate(data)
    assert not validator.is_valid({**data, "stpes": []})


def test_lab_yml_says_what_holds_without_it(project: Path) -> None:
    (project / "empty.yml").write_text("")
    assert load_site(project / "lab.yml") == load_site(project / "empty.yml")


# The schema


def test_an_older_schema_is_replaced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = (project / SCHEMA).read_text(encoding="utf-8")
    assert written == (ROOT / "schema" / SCHEMA.name).read_text(encoding="utf-8")
    (project / SCHEMA).write_text(json.dumps({"$id": SCHEMA.name, "title": "older"}))
    capsys.readouterr()
    assert lab("schema", "--write") == 0
    assert capsys.readouterr().out == f"wrote {SCHEMA}\n"
    assert (project / SCHEMA).read_text(encoding="utf-8") == written
    assert lab("schema", "--write", "editor/lab.json") == 0
    assert (project / "editor" / "lab.json").read_text(encoding="utf-8") == written


def test_another_file_is_not_replaced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "package.json").write_text('{"name": "mine"}')
    for path in ("package.json", "lab.yml", "scenarios"):
        assert lab("schema", "--write", path) == 2
        assert f"{path}: already exists and is not the schema of scenarios" in capsys.readouterr().err
    assert (project / "package.json").read_text() == '{"name": "mine"}'


def test_a_path_goes_with_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab("schema", "here.json") == 2
    assert "PATH needs --write" in capsys.readouterr().err


# The files of CI


@pytest.mark.parametrize(("path", "schema"), [(GITHUB, "github-workflows"), (GITLAB, "gitlab-ci")])
def test_ci_files_are_valid(project: Path, path: Path, schema: str) -> None:
    """By the public schemas, which check-jsonschema carries; and each sees a mistake."""

    def valid() -> bool:
        arguments = ["--builtin-schema", f"vendor.{schema}", str(path)]
        if schema == "gitlab-ci":
            arguments = ["--data-transform", "gitlab-ci", *arguments]
        return CliRunner().invoke(check_jsonschema, arguments).exit_code == 0

    assert valid()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("timeout", "tmieout"), encoding="utf-8")
    assert not valid()


@pytest.mark.parametrize("path", [GITHUB, GITLAB])
def test_the_version_is_pinned_once(project: Path, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r'LAB_VERSION: "(.+)"', text) == [__version__]
    assert re.findall(r'pip install .*"(socklab==.+)"', text) == ["socklab==$LAB_VERSION"]
    assert "@" not in re.sub(r"uses: \S+@[0-9a-f]{40}", "", text)


def test_the_name_on_pypi_is_the_one_that_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "socklab"
    assert project["dynamic"] == ["version"]


def test_actions_are_those_of_the_labs_own_workflow(project: Path) -> None:
    def uses(path: Path) -> set[str]:
        return set(re.findall(r"uses: (.+)", path.read_text(encoding="utf-8")))

    new = uses(project / GITHUB) - uses(WORKFLOW)
    assert [use.partition("@")[0] for use in new] == ["actions/cache"]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in new)


def test_github_gets_the_least_permissions_and_no_expression_in_a_shell_line(project: Path) -> None:
    content = read_workflow(project / GITHUB)
    assert content["permissions"] == {"contents": "read"}
    assert all(int(job["timeout-minutes"]) <= 45 for job in content["jobs"].values())
    assert [step for step in shell_steps(workflow=project / GITHUB) if "${{" in step.run] == []
    (checkout,) = [step for step in steps(content) if "checkout" in step.get("uses", "")]
    assert checkout["with"]["persist-credentials"] == "false"


def steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job["steps"]]


def test_evidence_is_kept_whatever_happened(project: Path) -> None:
    (upload,) = [s for s in steps(read_workflow(project / GITHUB)) if "upload-artifact" in s.get("uses", "")]
    assert upload["if"] == "always()"
    assert upload["with"]["path"].split() == ["runs", "!runs/latest"]
    gitlab = yaml.safe_load((project / GITLAB).read_text(encoding="utf-8"))["lab"]["artifacts"]
    assert (gitlab["when"], gitlab["paths"]) == ("always", ["runs"])


def test_the_images_are_cached_by_their_tags(project: Path) -> None:
    (cache,) = [s for s in steps(read_workflow(project / GITHUB)) if "cache@" in s.get("uses", "")]
    assert cache["with"]["path"] == "images.tar.gz"
    assert cache["with"]["key"].endswith("${{ steps.tags.outputs.key }}")


def test_every_shell_line_is_run_by_a_test(project: Path) -> None:
    assert {step.name for step in shell_steps(workflow=project / GITHUB)} == RUN_HERE | RUN_THERE


def test_check_and_tags(project: Path) -> None:
    runner = Runner.of(project, with_lab_in_path(project))
    done = runner.run(the_step("lab", "Check", project / GITHUB))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 file, 1 case: valid\n"
    assert runner.run(the_step("lab", "Tags", project / GITHUB)).returncode == 0
    key = runner.outputs()["key"]
    assert re.fullmatch("[0-9a-f]{16}", key)
    (project / "bin" / "lab").write_text("#!/bin/sh\necho lab-host:other\n")
    assert runner.run(the_step("lab", "Tags", project / GITHUB)).returncode == 0
    assert runner.outputs()["key"] != key
    (project / "bin" / "lab").write_text("#!/bin/sh\nexit 3\n")
    assert runner.run(the_step("lab", "Tags", project / GITHUB)).returncode == 3


def with_lab_in_path(project: Path) -> dict[str, str]:
    """The environment of a step after `Install`."""
    program = project / "bin" / "lab"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m lab "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_tags_need_no_engine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert lab("images", "--tags") == 0
    assert capsys.readouterr().out.split() == [source.tag for source in sources()]
    assert lab("images", "--tags", "--prune") == 2
