"""The workflow: valid, pinned, with the least permissions, and its shell lines do what they are there for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from click.testing import CliRunner

from lab.runner.selection import Selection
from tests.process.workflow_steps import ROOT, WORKFLOW, Runner, read_workflow, shell_steps, the_step

#: Shell lines that no test runs as they are, with the reason.
NOT_RUN = {
    "make check": "it runs this test",
    "sudo .ci/run": "it runs this test",
}

#: Shell lines that tests/lab/test_workflow.py runs: they need Docker.
RUN_WITH_DOCKER = {
    ("images", "Build"),
    ("images", "Pack"),
    ("run", "Set up"),
    ("run", "Run"),
    ("run", "Summary"),
}

RUN_HERE = {("plan", "Set up"), ("plan", "Plan"), ("verdict", "All jobs have succeeded"), ("run", "Summary")}

SELECT = "inputs.select || 'scenarios'"
RESULTS = "join(needs.*.result, ' ')"


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner.make(tmp_path)


def valid(path: Path) -> bool:
    """By the public schema of workflows, which check-jsonschema carries."""
    arguments = ["--builtin-schema", "vendor.github-workflows", str(path)]
    return CliRunner().invoke(check_jsonschema, arguments).exit_code == 0


def test_it_is_valid() -> None:
    assert valid(WORKFLOW)


@pytest.mark.parametrize(
    ("old", "new"),
    [("runs-on: ubuntu-24.04", "run-on: ubuntu-24.04"), ("contents: read", "contents: reed")],
)
def test_a_mistake_is_seen(tmp_path: Path, old: str, new: str) -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert old in text
    copy = tmp_path / "lab.yml"
    copy.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert not valid(copy)


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from read_workflow()["jobs"].items()


def test_permissions_are_the_least() -> None:
    assert read_workflow()["permissions"] == {"contents": "read"}
    assert [job.get("permissions", {}) for _, job in jobs()] == [{}] * len(list(jobs()))


def test_a_newer_push_ends_an_older_run() -> None:
    assert read_workflow()["concurrency"]["cancel-in-progress"] == "true"
    assert "github.ref" in read_workflow()["concurrency"]["group"]


def test_actions_are_pinned_to_commits() -> None:
    uses = re.findall(r"uses: (.+)", WORKFLOW.read_text(encoding="utf-8"))
    assert uses
    assert [
        use for use in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)
    ] == []


def test_a_checkout_keeps_no_credentials() -> None:
    steps = [step for _, job in jobs() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert steps
    assert all(step["with"]["persist-credentials"] == "false" for step in steps)


def test_nothing_runs_for_ever() -> None:
    assert all(int(job["timeout-minutes"]) <= 45 for _, job in jobs())


def test_no_expression_in_a_shell_line() -> None:
    """A branch or a title with shell in it would run; what comes from outside comes by `env`."""
    assert [step for step in shell_steps() if "${{" in step.run] == []


def test_every_shell_line_is_run_by_a_test() -> None:
    assert [
        step
        for step in shell_steps()
        if step.run not in NOT_RUN and (step.job, step.name) not in RUN_HERE | RUN_WITH_DOCKER
    ] == []


def test_the_run_job_takes_the_plan() -> None:
    content = read_workflow()
    assert content["jobs"]["plan"]["outputs"] == {"matrix": "${{ steps.plan.outputs.matrix }}"}
    run = content["jobs"]["run"]
    assert run["strategy"]["matrix"] == "${{ fromJSON(needs.plan.outputs.matrix) }}"
    assert run["strategy"]["fail-fast"] == "false"
    assert set(run["needs"]) == {"plan", "images"}


def test_evidence_is_uploaded_whatever_happened() -> None:
    (upload,) = [
        step for step in read_workflow()["jobs"]["run"]["steps"] if "upload-artifact" in step.get("uses", "")
    ]
    assert upload["if"] == "always()"
    assert upload["with"]["path"].split() == ["runs", "!runs/latest"]
    assert upload["with"]["name"] == "${{ matrix.name }}"


def test_the_verdict_waits_for_all_jobs() -> None:
    content = read_workflow()["jobs"]
    assert set(content["verdict"]["needs"]) == set(content) - {"verdict"}
    assert content["verdict"]["if"] == "always()"


def test_plan_set_up(runner: Runner) -> None:
    done = runner.run(the_step("plan", "Set up"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_plan(runner: Runner) -> None:
    done = runner.run(the_step("plan", "Plan"), {SELECT: "scenarios"})
    assert done.returncode == 0, done.stderr
    matrix = json.loads(runner.outputs()["matrix"])
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "scenarios").rglob("*.yml"))
    assert sorted(entry["file"] for entry in matrix["include"]) == files
    assert len(json.dumps(matrix)) < 1_000_000  # GitHub takes 1 MB of outputs from a job


def test_plan_of_a_selection(runner: Runner) -> None:
    done = runner.run(the_step("plan", "Plan"), {SELECT: "scenarios/connect --by case -k delay=2.5ms"})
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(runner.outputs()["matrix"])["include"]
    assert entry["name"] == "connect-handshake-times-delay=2.5ms"
    assert [case.name for case in Selection([ROOT / entry["file"]]).cases()] != []


@pytest.mark.parametrize("select", ["scenarios/udp --tag no-such-tag", "$(touch owned)"])
def test_a_plan_that_fails_ends_the_job(runner: Runner, select: str) -> None:
    """Not an empty matrix, with which the run would be green; and what is asked for is never shell."""
    done = runner.run(the_step("plan", "Plan"), {SELECT: select})
    assert done.returncode == 2
    assert runner.outputs() == {}
    assert not (runner.folder / "owned").exists()


def test_summary(runner: Runner) -> None:
    step = the_step("run", "Summary")
    assert runner.run(step).returncode == 0
    assert runner.summary() == ""
    (runner.folder / "report.txt").write_text("PASS  100 % $HOME `x`\n", encoding="utf-8")
    assert runner.run(step).returncode == 0
    assert runner.summary() == "```\nPASS  100 % $HOME `x`\n```\n"


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ("success success success", 0),
        ("success failure success", 1),
        ("success success cancelled", 1),
        ("skipped success", 1),
    ],
)
def test_verdict(runner: Runner, results: str, status: int) -> None:
    assert runner.run(the_step("verdict", "All jobs have succeeded"), {RESULTS: results}).returncode == status
