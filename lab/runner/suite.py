"""Many cases: each in a folder of its own, one after another or side by side, with one summary."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

from msgspec import Struct

from lab.ownership import give_to_caller
from lab.result import Result
from lab.runner.case import CaseRunner
from lab.runner.unforeseen import unforeseen
from lab.scenario.load import Case
from lab.session.events import Said
from lab.session.folder import RunFolder, file_name, link_latest, make_case_folder, make_folder, new_run_id
from lab.session.interrupt import Interrupt


class Outcome(Struct, frozen=True):
    """One run of one case."""

    result: Result
    folder: Path


class Job(Struct, frozen=True):
    """One run to make: a case and, if it is repeated, the number of the repetition (from 1)."""

    case: Case
    run: str
    folder: RunFolder
    repetition: int | None

    @property
    def label(self) -> str:
        return f"{self.case.name} #{self.repetition}" if self.repetition else self.case.name


def plan_jobs(cases: Sequence[Case], runs: Path, repeat: int) -> tuple[Path, list[Job]]:
    """The invocation's folder and its jobs: a single case has the folder itself, each of many one in it."""
    first = new_run_id()
    if len(cases) * repeat == 1:
        folder = make_folder(runs, cases[0].name, first)
        return folder, [Job(cases[0], first, make_case_folder(folder), None)]
    name = cases[0].scenario.name if len({c.scenario.name for c in cases}) == 1 else "suite"
    folder = make_folder(runs, name, first)
    jobs: list[Job] = []
    taken: set[str] = set()
    for repetition in range(1, repeat + 1):
        for case in cases:
            part = file_name(case.name) + (f"-{repetition:0{len(str(repeat))}d}" if repeat > 1 else "")
            number = 2
            unique = part
            while unique in taken:  # two files may give their scenarios the same name
                unique = f"{part}-{number}"
                number += 1
            taken.add(unique)
            job_folder = make_case_folder(folder / unique)
            jobs.append(Job(case, new_run_id(), job_folder, repetition if repeat > 1 else None))
    return folder, jobs


def run_jobs(
    jobs: Sequence[Job],
    runner: CaseRunner,
    interrupt: Interrupt,
    workers: int,
    done: Callable[[Outcome], None],
) -> list[Outcome]:
    """Runs all jobs, `workers` at a time; those with `alone` run by themselves at the end.

    The outcomes are in the order of the jobs, without those that an interrupt kept from starting. The calling
    thread only waits, so that signals reach it.
    """
    outcomes: dict[str, Outcome] = {}
    lock = threading.Lock()
    cpus: SimpleQueue[int] = SimpleQueue()  # one for each case that runs; other labs start from another CPU
    for number in range(workers):
        cpus.put(os.getpid() + number)

    def work(job: Job) -> None:
        if interrupt.reason is not None:
            return
        runner.listener(Said(f"{job.label} …"))
        cpu, began = cpus.get(), datetime.now(UTC)
        try:
            result = runner.run(job.case, job.run, job.folder, cpu)
        except Exception as error:  # noqa: BLE001 - whatever breaks one case, the others still run
            result = unforeseen(job.case, job.run, job.folder.path, began, error)
        finally:
            cpus.put(cpu)
        outcome = Outcome(result, job.folder.path)
        with lock:
            outcomes[job.run] = outcome
            done(outcome)

    together = [job for job in jobs if workers > 1 and not job.case.scenario.alone]
    by_themselves = [job for job in jobs if job not in together]
    _in_pool(together, work, workers)
    _in_pool(by_themselves, work, 1)
    return [outcomes[job.run] for job in jobs if job.run in outcomes]


def _in_pool(jobs: Iterable[Job], work: Callable[[Job], None], workers: int) -> None:
    with ThreadPoolExecutor(workers, thread_name_prefix="case") as pool:
        for future in [pool.submit(work, job) for job in jobs]:
            future.result()


def default_workers() -> int:
    """One worker for each CPU that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def finish_folder(folder: Path) -> None:
    """Links `latest` to the newest run, and gives everything written to the user who called sudo."""
    link_latest(folder)
    give_to_caller(folder)
    give_to_caller(folder.parent / "latest")
