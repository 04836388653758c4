"""What a fresh process loads, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

from lab.cli import COMMANDS


def loaded(imported: str, heavy: tuple[str, ...]) -> str:
    code = f"import {imported}, sys\nprint([m for m in sys.modules if m.startswith({heavy!r})])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_recheck_needs_no_engine() -> None:
    heavy = ("docker", "lab.engine", "lab.runner")
    assert loaded("lab.judging.recheck, tools.mutation.mutate", heavy) == "[]"
    assert "'lab.engine.docker'" in loaded("lab.runner.invocation", heavy)


def test_the_help_of_a_command_loads_nothing_heavy() -> None:
    """It takes 0.06 s, where the imports of `lab run` take 0.4 s."""
    modules = ", ".join(f"lab.cli.{name}_command" for name in COMMANDS)
    heavy = ("docker", "pydantic", "jinja2", "rich", "lab.engine", "lab.scenario.model", "lab.report")
    assert loaded(modules, heavy) == "[]"


def test_a_run_loads_its_report_while_containers_start() -> None:
    """What comes after the network exists must not hold it up."""
    later = (
        "jinja2",
        "lab.report",
        "lab.judging",
        "lab.checks",
        "lab.evidence.store",
        "lab.scenario.topology",
    )
    assert loaded("lab.runner.invocation", later) == "[]"
