"""One call of `lab run`: selects cases, finds the engine, runs all, writes the index, says how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lab.engine.clean import sweep
from lab.engine.docker import DockerEngine
from lab.engine.images import ensure_images
from lab.engine.private import find_engine
from lab.errors import UsageError
from lab.report import render_index, render_junit
from lab.report.terminal import render, render_suite
from lab.runner.case import CaseRunner
from lab.runner.interrupt import Interrupt, signals_set
from lab.runner.progress import Progress
from lab.runner.suite import Outcome, finish_folder, plan_jobs, run_jobs
from lab.scenario.load import Case, load_all, select
from lab.site import Site, WireChoice, load_site


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases of which files are to run."""

    paths: Sequence[Path]
    keyword: str | None = None
    tags: Sequence[str] = ()
    params: Mapping[str, str] | None = None

    def cases(self) -> list[Case]:
        """Raises `UsageError` where nothing is left to run."""
        found = load_all(self.paths, params=self.params or {})
        chosen = select(found, self.keyword, self.tags)
        if not chosen:
            asked = [f"-k {self.keyword}"] if self.keyword else []
            asked += [f"--tag {tag}" for tag in self.tags]
            raise UsageError(
                f"nothing to run: none of {len(found)} cases fits {' '.join(asked)}",
                hint="`lab list` shows the cases and their tags",
            )
        return chosen


@dataclass(frozen=True, slots=True)
class Done:
    """How an invocation went."""

    folder: Path
    outcomes: list[Outcome]
    interrupted: str | None
    hint: str = ""

    def report(self, *, colour: bool, verbose: bool) -> str:
        if not self.outcomes:
            return ""
        results = [outcome.result for outcome in self.outcomes]
        if len(results) == 1:
            text = render(results[0], colour=colour, verbose=verbose, folder=self.outcomes[0].folder)
        else:
            folders = [outcome.folder for outcome in self.outcomes]
            text = render_suite(results, colour=colour, verbose=verbose, folders=folders)
        return text + self.hint


def open_engine(site: Site, progress: Progress) -> DockerEngine:
    """The engine of this site; what dead runs left on it is removed first."""
    environment = {"DOCKER_HOST": site.engine_address} if site.engine_address else os.environ
    engine = find_engine(progress.line, environ=environment)
    swept = sweep(engine, progress=progress.line)
    for failure in swept.failures:
        progress.line(f"left behind by a dead run, and could not be removed: {failure}")
    return engine


def invoke(
    selection: Selection,
    *,
    repeat: int,
    workers: int,
    keep: bool,
    out: Path | None,
    wire: str | None,
    progress: Progress,
) -> Done:
    """Runs everything selected. Raises `LabError` where it cannot even begin."""
    cases = selection.cases()
    if keep and len(cases) > 1:
        raise UsageError(f"--keep goes with one case, and these are {len(cases)}", hint="choose one with -k")
    site = load_site()
    interrupt = Interrupt()
    with signals_set(interrupt), closing(open_engine(site, progress)) as engine:
        interrupt.check()
        images = ensure_images(engine, progress.line)
        interrupt.check()
        runner = CaseRunner(
            engine=engine,
            images=images,
            info=engine.info(),
            site=site,
            wire=cast(WireChoice, wire or site.wire),
            keep=keep,
            interrupt=interrupt,
            progress=progress,
        )
        folder, jobs = plan_jobs(cases, out or site.runs, repeat)
        many = len(jobs) > 1

        def say(outcome: Outcome) -> None:
            if many:
                result = outcome.result
                progress.line(f"{result.verdict.value:5s} {result.name}  {result.seconds:.1f} s")

        outcomes = run_jobs(jobs, runner, interrupt, progress, workers, say)
    if many:
        _write_index(folder, outcomes)
    finish_folder(folder)
    return Done(folder, outcomes, interrupt.reason, _look_around(outcomes) if keep else "")


def _write_index(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """`index.html` and `junit.xml` over all cases, in the invocation's folder."""
    results = [outcome.result for outcome in outcomes]
    folders = [outcome.folder.relative_to(folder).as_posix() for outcome in outcomes]
    (folder / "index.html").write_text(render_index(results, folders=folders), encoding="utf-8")
    (folder / "junit.xml").write_text(render_junit(results), encoding="utf-8")


def _look_around(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    run = outcomes[0].result.run
    lab = f"{Path(sys.executable).name} -m lab"
    return (
        f"\nThe hosts of run {run} still stand. A shell on one of them:\n"
        f"    {lab} sh {run} client\n"
        f"Take them down:\n"
        f"    {lab} down {run}\n"
    )
