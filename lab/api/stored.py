"""Scenarios as `lab run` runs them, and stored run folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.api.steps import caller, check_of
from lab.checks import judge_checks
from lab.evidence.store import Evidence, load_evidence
from lab.judging.recheck import recheck, recheck_file
from lab.result import Result, read_result
from lab.scenario.load import Case
from lab.scenario.load import load as load_file
from lab.site import load_site
from lab.verdict import Finding

__tracebackhide__ = True  #: a failed test shows its own lines, not these

Paths = str | os.PathLike[str]


def run(
    path: Paths,
    *more: Paths,
    keyword: str | None = None,
    tags: Sequence[str] = (),
    params: Mapping[str, Any] | None = None,
    repeat: int = 1,
    jobs: int = 1,
    out: Paths | None = None,
    wire: str | None = None,
) -> list[Result]:
    """`lab run`: the results of all cases of files and folders, in order; a failed check is a verdict there.

    Raises `lab.ScenarioError` where a file is invalid, `lab.LabError` where nothing can be run. Installs no
    signal handler; a Ctrl-C takes everything down and is raised then.
    """
    # 0.2 s, which neither `lab.load` nor `lab.open` needs.
    from lab.api.net import uninterrupted
    from lab.runner.invocation import invoke
    from lab.runner.selection import Selection
    from lab.session.interrupt import Interrupt

    given = {name: str(value) for name, value in (params or {}).items()}
    paths = [Path(one) for one in (path, *more)]
    selection = Selection(paths, keyword, tuple(tags), given)
    interrupt = Interrupt()
    done = uninterrupted(
        lambda: invoke(
            selection,
            repeat=repeat,
            workers=jobs,
            keep=False,
            out=Path(out) if out is not None else None,
            wire=wire,
            listener=lambda event: None,
            interrupt=interrupt,
        ),
        interrupt.set,
    )
    return [outcome.result for outcome in done.outcomes]


def load(path: Paths, *, params: Mapping[str, Any] | None = None) -> list[Case]:
    """The cases of a scenario file: each combination of its parameters is one, with `.name`, `.scenario`,
    `.params`. `params` chooses values. Raises `lab.ScenarioError` with all that is wrong."""
    given = {name: str(value) for name, value in (params or {}).items()}
    return load_file(Path(path), params=given, policy=load_site().policy)


class StoredRun:
    """A run folder: `result` is what it says, `evidence` what was seen. Needs no engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result: Result = read_result(folder)

    @cached_property
    def evidence(self) -> Evidence:
        """Raises `lab.LabError` where the run left none."""
        return load_evidence(self.folder)

    def recheck(self, scenario: Paths | None = None) -> Result:
        """The result judged anew, by the run's own scenario or by that of another file, which may differ in
        expectations and checks. Nothing is written."""
        return recheck(self.folder) if scenario is None else recheck_file(self.folder, Path(scenario))

    def check(self, check: str | Mapping[str, Any], /, **keys: Any) -> Finding:
        """One more check on the evidence, as `net.check`. Returns its finding, even if it does not hold."""
        typed = check_of(check, keys, caller(), "run.check")
        return judge_checks((typed,), self.evidence)[0]

    def __repr__(self) -> str:
        return f"<StoredRun {self.folder}: {self.result.verdict.value}>"


def open(folder: Paths) -> StoredRun:
    """A stored run folder. Raises `lab.LabError` where it is not one."""
    return StoredRun(Path(folder))
