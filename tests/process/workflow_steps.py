"""The workflow's steps as a runner would do them: expressions put into `env`, `run:` given to its shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "lab.yml"

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
#: GitHub's own command for `shell: bash`, by its documentation of jobs.<job_id>.steps[*].shell
_BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")


def read_workflow(path: Path = WORKFLOW) -> dict[str, Any]:
    """A workflow; its `on` is a text here, and not the boolean that YAML 1.1 makes of it."""
    loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert isinstance(loaded, dict)
    return loaded


@dataclass(frozen=True)
class Step:
    """One step with a `run:` of a job."""

    job: str
    name: str
    run: str
    env: Mapping[str, str]


def shell_steps(job: str | None = None, workflow: Path = WORKFLOW) -> Iterator[Step]:
    """The steps that are shell, of one job or of all."""
    for name, content in read_workflow(workflow)["jobs"].items():
        for step in content["steps"]:
            if "run" in step and job in (None, name):
                yield Step(name, step.get("name", step["run"]), step["run"], step.get("env", {}))


def the_step(job: str, name: str, workflow: Path = WORKFLOW) -> Step:
    (found,) = [step for step in shell_steps(job, workflow) if step.name == name]
    return found


@dataclass(frozen=True)
class Runner:
    """A folder with a checkout, and the files that GitHub's runner gives to a step."""

    folder: Path
    environ: Mapping[str, str]

    @classmethod
    def make(cls, folder: Path) -> Runner:
        """`folder` gets the repository as links, and a virtual environment that is set up already."""
        for path in ROOT.iterdir():
            if path.name not in (".git", ".venv", "runs"):
                (folder / path.name).symlink_to(path)
        venv = folder / ".venv"
        venv.mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.suffix != ".stamp":
                (venv / path.name).symlink_to(path)
        for name in ("run.stamp", "dev.stamp"):
            (venv / name).touch()
        return cls.of(folder, os.environ)

    @classmethod
    def of(cls, folder: Path, environ: Mapping[str, str]) -> Runner:
        """`folder` as it is."""
        files = {name: folder / f".{name.lower()}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.touch()
        given = {name: str(path) for name, path in files.items()}
        return cls(folder, {**environ, **given, "GITHUB_WORKSPACE": str(folder), "CI": "true"})

    def run(
        self, step: Step, values: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a step; `values` are what the expressions of its `env` stand for."""

        def value(match: re.Match[str]) -> str:
            return (values or {})[match[1]]

        env = {name: _EXPRESSION.sub(value, text) for name, text in step.env.items()}
        script = self.folder / ".step.sh"
        script.write_text(step.run, encoding="utf-8")
        return subprocess.run(
            [*_BASH, str(script)],
            cwd=self.folder,
            env={**self.environ, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def outputs(self) -> dict[str, str]:
        """What the steps have put into `$GITHUB_OUTPUT`, one `name=value` a line."""
        text = Path(self.environ["GITHUB_OUTPUT"]).read_text(encoding="utf-8")
        return dict(line.split("=", 1) for line in text.splitlines())

    def summary(self) -> str:
        return Path(self.environ["GITHUB_STEP_SUMMARY"]).read_text(encoding="utf-8")
