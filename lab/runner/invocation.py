"""One call of `lab run`: selects cases, finds the engine, runs all, writes the index, reports the outcome."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import cast

from msgspec import Struct

from lab.engine.clean import sweep
from lab.engine.docker import DockerEngine
from lab.engine.images import ensure_images
from lab.engine.private import find_engine
from lab.errors import UsageError
from lab.files import write_text
from lab.runner.case import CaseRunner
from lab.runner.selection import Selection
from lab.runner.suite import Outcome, finish_folder, plan_jobs, run_jobs
from lab.scenario.load import Case, noted
from lab.scenario.model import Scenario
from lab.session.events import Listener, Said
from lab.session.interrupt import Interrupt, signals_set
from lab.site import Site, WireChoice, load_site

_SHOWN = 4  #: services named to a user who wants to look around


class Done(Struct, frozen=True):
    """How an invocation went."""

    folder: Path
    outcomes: list[Outcome]
    interrupted: str | None
    hint: str = ""

    def report(self, *, colour: bool, verbose: bool) -> str:
        if not self.outcomes:
            return ""
        from lab.report import render, render_suite  # loaded by now, while containers started

        results = [outcome.result for outcome in self.outcomes]
        if len(results) == 1:
            text = render(results[0], colour=colour, verbose=verbose, folder=self.outcomes[0].folder)
        else:
            folders = [outcome.folder for outcome in self.outcomes]
            text = render_suite(results, colour=colour, verbose=verbose, folders=folders)
        return text + self.hint


def open_engine(site: Site, say: Callable[[str], None]) -> DockerEngine:
    """The engine of this site, after what dead runs left on it is removed."""
    engine = find_engine(say, address=site.engine_address)
    swept = sweep(engine, progress=say)
    for failure in swept.failures:
        say(f"left behind by a dead run and could not be removed: {failure}")
    return engine


def invoke(
    selection: Selection,
    *,
    repeat: int,
    workers: int,
    keep: bool,
    out: Path | None,
    wire: str | None,
    listener: Listener,
    interrupt: Interrupt | None = None,
) -> Done:
    """Runs everything selected. Raises `LabError` if it cannot even begin.

    Signals end it cleanly, unless the caller passes an `interrupt` to set itself.
    """
    site = load_site()
    cases = selection.cases(site.policy)
    if keep and len(cases) > 1:
        raise UsageError(f"--keep works with one case, not with {len(cases)}", hint="select one with -k")
    for note in noted(cases):
        listener(Said(note, lasting=True))
    signals = interrupt is None
    interrupt = interrupt or Interrupt()
    with _runner(site, interrupt, keep=keep, wire=wire, listener=listener, signals=signals) as runner:
        folder, jobs = plan_jobs(cases, out or site.runs, repeat)
        many = len(jobs) > 1

        def say(outcome: Outcome) -> None:
            if many:
                result = outcome.result
                line = f"{result.verdict.value:5s} {result.name}  {result.seconds:.1f} s"
                listener(Said(line, lasting=True))

        outcomes = run_jobs(jobs, runner, interrupt, workers, say)
    if many:
        _write_index(folder, outcomes)
    finish_folder(folder)
    hint = look_around(outcomes[0].result.run, cases[0].scenario) if keep and outcomes else ""
    return Done(folder, outcomes, interrupt.reason, hint)


@contextmanager
def _runner(
    site: Site,
    interrupt: Interrupt,
    *,
    keep: bool,
    wire: str | None,
    listener: Listener,
    signals: bool = True,
) -> Iterator[CaseRunner]:
    """A runner on the site's engine, with its images; inside the block signals set `interrupt`, if wanted."""

    def say(text: str) -> None:
        listener(Said(text, lasting=True))

    with signals_set(interrupt) if signals else nullcontext(), closing(open_engine(site, say)) as engine:
        interrupt.check()
        images = ensure_images(engine, say)
        interrupt.check()
        yield CaseRunner(
            engine=engine,
            store=engine,
            images=images,
            site=site,
            wire=cast(WireChoice, wire or site.wire),
            keep=keep,
            interrupt=interrupt,
            listener=listener,
        )


def bring_up(case: Case, *, wire: str | None, listener: Listener) -> str:
    """Brings up the hosts of a case and leaves them up; returns how to look around. Raises `LabError`."""
    interrupt = Interrupt()
    with _runner(load_site(), interrupt, keep=True, wire=wire, listener=listener) as runner:
        run = runner.bring_up(case)
    return look_around(run, case.scenario)


def _write_index(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes `index.html` and `junit.xml` over all cases into the invocation's folder."""
    from lab.report import render_index, render_junit  # as above

    results = [outcome.result for outcome in outcomes]
    folders = [outcome.folder.relative_to(folder).as_posix() for outcome in outcomes]
    write_text(folder / "index.html", render_index(results, folders=folders))
    write_text(folder / "junit.xml", render_junit(results))


def look_around(run: str, scenario: Scenario) -> str:
    """What to type in a running lab of this scenario."""
    lab = f"{Path(sys.executable).name} -m lab"
    names = scenario.used_hosts or tuple(scenario.hosts)
    services = [f"{name}/{service}" for name in names for service in scenario.hosts[name].services]
    lines = [
        f"\nThe hosts of run {run} are up. A shell on one of them, and a command:",
        f"    {lab} sh {names[0]}",
        f"    {lab} sh {names[-1]} ss -tan",
        *(["Inside a service:"] if services else []),
        *(f"    {lab} sh {service}" for service in services[:_SHOWN]),
        "Take them down:",
        f"    {lab} down {run}",
    ]
    return "\n".join(lines) + "\n"
