"""One case from bring-up to verdict: the network stands, the steps run, all that was seen is judged."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lab import __version__
from lab.cli.progress import Progress
from lab.clock import SYSTEM_CLOCK, Deadline
from lab.engine.base import Engine, EngineInfo
from lab.engine.clean import RunLock
from lab.engine.images import Images
from lab.errors import LabError, WireError
from lab.result import (
    RESULT_VERSION,
    SCENARIO_FILE,
    TOPOLOGY_FILE,
    Environment,
    ErrorFacts,
    ImageFacts,
    Result,
)
from lab.runner.compose import compose_text
from lab.runner.folder import RunFolder, new_run_id
from lab.scenario.load import Case
from lab.scenario.model import Scenario
from lab.session.executor import Executor
from lab.session.interrupt import Interrupt, Interrupted
from lab.session.phases import Phases
from lab.session.plan import make_plan
from lab.session.record import Record
from lab.session.settle import quiet_time, settle
from lab.session.testbed import Testbed, testbed
from lab.site import Site, WireChoice
from lab.verdict import Verdict

_FOR_EVER = 1 << 62  #: ns: for so long no packet has been seen where there is no host

if TYPE_CHECKING:
    from lab.evidence.store import Evidence
    from lab.runner.aftermath import Judged


def load_aftermath() -> None:
    """Makes ready what is needed behind the bring-up, during it. Where it is used it is imported by name."""
    importlib.import_module("lab.runner.aftermath").prepare_html()


@dataclass
class CaseRunner:
    """Runs one case after another, or several at once, on one engine."""

    engine: Engine
    images: Images
    info: EngineInfo
    site: Site
    wire: WireChoice
    keep: bool
    interrupt: Interrupt
    progress: Progress

    def run(self, case: Case, run: str, folder: RunFolder, cpu: int) -> Result:
        """The whole case; its result and reports are in `folder` then. Raises nothing but bugs.

        `cpu` is which of the machine's moves its packets; cases side by side have different ones.
        """
        return _Run(self, case, run, folder, cpu).all()

    def bring_up(self, case: Case) -> str:
        """Only the hosts and the wire of a case, left standing; the id of the run. Raises `LabError`."""
        run, standing = new_run_id(), False
        with RunLock.take(run) as lock:
            plan = make_plan(case.scenario, run, self.wire, lock.labels(), keep=True, cpu=os.getpid())
            self.progress.status(f"{case.name}: bringing up {', '.join(case.scenario.used_hosts)}")
            arguments = (self.site.pool, self.site.snaplen, Phases(), self.interrupt, self.site.limits)
            with testbed(self.engine, self.images, plan, *arguments, lambda: standing, lambda: None):
                standing = True
            lock.keep()
        return run


class _Run:
    """The state of one case on its way."""

    def __init__(self, lab: CaseRunner, case: Case, run: str, folder: RunFolder, cpu: int) -> None:
        self.lab = lab
        self.case = case
        self.scenario: Scenario = case.scenario
        self.id = run
        self.folder = folder
        self.cpu = cpu
        self.phases = Phases()
        self.record = Record()
        self.started = datetime.now(UTC)
        self.evidence: Evidence | None = None
        self.judged: Judged | None = None
        self.error: ErrorFacts | None = None
        self.notes: list[str] = []
        self.standing = False

    def all(self) -> Result:
        self._keep_sources()
        skip = self._why_skip()
        if skip:
            return self._finish(self._result(Verdict.SKIP, skip))
        with ThreadPoolExecutor(1, thread_name_prefix="judge") as judge:
            judging: Future[None] | None = None
            try:
                with RunLock.take(self.id) as lock:
                    with self._testbed(lock) as bed:
                        self._use(bed)
                        if self.evidence is not None:
                            judging = judge.submit(self._judge, self.evidence)
                        self.standing = self.lab.keep
                    if self.standing:
                        lock.keep()
            except LabError as error:
                self._broke(error)
            if judging is not None:
                judging.result()
        if self.judged is not None and self.judged.doubt is not None:
            self._broke(self.judged.doubt)
        return self._finish(self._verdict())

    def _keep_sources(self) -> None:
        """The scenario and its topology as they were, for `lab recheck`."""
        (self.folder.path / SCENARIO_FILE).write_text(self.case.source_text, encoding="utf-8")
        if self.scenario.topology is not None:
            source = self.case.path.parent / self.scenario.topology.path
            shutil.copyfile(source, self.folder.path / TOPOLOGY_FILE)
        (self.folder.path / "compose.yml").write_text(compose_text(self.scenario), encoding="utf-8")

    def _why_skip(self) -> str:
        missing = [what for what in self.scenario.requires if what in ("ipv6", "swarm")]
        return f"requires {', '.join(missing)}, which this lab does not have yet" if missing else ""

    def _testbed(self, lock: RunLock) -> AbstractContextManager[Testbed]:
        plan = make_plan(
            self.scenario, self.id, self.lab.wire, lock.labels(), keep=self.lab.keep, cpu=self.cpu
        )
        self.lab.progress.status(f"{self.case.name}: bringing up {', '.join(self.scenario.used_hosts)}")
        return testbed(
            self.lab.engine,
            self.lab.images,
            plan,
            self.lab.site.pool,
            self.lab.site.snaplen,
            self.phases,
            self.lab.interrupt,
            self.lab.site.limits,
            lambda: self.standing,
            load_aftermath,
        )

    def _use(self, bed: Testbed) -> None:
        """Steps, settling, evidence. What breaks is kept as the error; the evidence is taken all the same."""
        from lab.runner.aftermath import collect, live_judge, read_counters

        before = read_counters(bed)
        timeout = self.scenario.timeout or self.lab.site.timeout
        deadline = Deadline.after(timeout.seconds, f"the scenario's {timeout}")
        judge = live_judge(self.scenario, bed, self.lab.site.tolerance)
        executor = Executor(self.scenario, bed, self.record, judge, deadline, self.lab.interrupt)
        self.lab.progress.status(f"{self.case.name}: steps begin")
        try:
            with self.phases("steps"):
                executor.run()
            with self.phases("settle"):
                self._settle(bed)
        except Interrupted:
            raise
        except LabError as error:
            self._broke(error)
        with self.phases("evidence"):
            try:
                bed.wire.confirm()
            except WireError as error:  # the packets shall say what it did in place of what was asked
                self._broke(error)
            self.evidence = collect(bed, self.record, before, self.lab.site.tolerance, self.folder)

    def _settle(self, bed: Testbed) -> None:
        hosts = bed.on()
        came_to_rest = settle(
            lambda: min((host.quiet_ns() for host in hosts.values()), default=_FOR_EVER),
            bed.wire.in_flight,
            quiet_time(bed.links.values()),
            self.lab.interrupt.wait,
            SYSTEM_CLOCK,
        )
        if not came_to_rest:
            self.notes.append("the network was not at rest 3 s after the last step: the captures end there")

    def _judge(self, evidence: Evidence) -> None:
        """In a thread of its own, while the hosts are taken down."""
        from lab.runner.aftermath import judge_all

        with self.phases("judge"):
            self.judged = judge_all(self.scenario, evidence, self.record, broken=self.error is not None)

    def _broke(self, error: LabError) -> None:
        """The first error is kept: what follows is mostly its consequence."""
        notes = getattr(error, "__notes__", ())
        message = "\n".join([str(error), *notes])
        if self.error is None:
            self.error = ErrorFacts(type(error).__name__, message, error.hint)
        else:
            self.notes.append(message)

    def _verdict(self) -> Result:
        """The verdict of what was seen, what broke, and what the wire did unasked."""
        if self.error is not None:
            return self._result(Verdict.ERROR, self.error.message.splitlines()[0])
        findings = self.judged.findings if self.judged is not None else ()
        verdict = Verdict.of(finding.verdict for finding in findings)
        first = next((f for f in findings if f.verdict is verdict), None)
        return self._result(verdict, "" if verdict is Verdict.PASS or first is None else first.reason)

    def _result(self, verdict: Verdict, reason: str) -> Result:
        records = self.evidence.records if self.evidence is not None else None
        return Result(
            version=RESULT_VERSION,
            run=self.id,
            name=self.case.name,
            scenario=str(self.case.path),
            summary=self.scenario.summary,
            tags=self.scenario.tags,
            params={name: str(value) for name, value in self.case.params.items()},
            verdict=verdict,
            reason=reason,
            started=self.started.isoformat(timespec="milliseconds"),
            seconds=round(self.phases.seconds(), 3),
            findings=self.judged.findings if self.judged is not None else (),
            error=self.error,
            environment=self._environment(),
            phases=self.phases.all(),
            links=self.judged.proofs if self.judged is not None else (),
            streams=records.streams if records else (),
            captures=tuple(dict.fromkeys(c.path for c in records.captures)) if records else (),
            notes=tuple(self.notes),
        )

    def _environment(self) -> Environment:
        info, images = self.lab.info, self.lab.images
        wire = self.evidence.records.wire if self.evidence is not None else None
        return Environment(
            lab=__version__,
            python=platform.python_version(),
            machine=platform.machine(),
            kernel=info.kernel,
            engine=f"{info.name} {info.version} (API {info.api_version})",
            engine_address=info.address,
            images={i.name: ImageFacts(i.tag, i.id) for i in (images.base, images.host, images.wire)},
            wire=wire.kind if wire else "",
            wire_reason=wire.reason if wire else "",
            wire_kernel=wire.kernel if wire else "",
        )

    def _finish(self, result: Result) -> Result:
        from lab.runner.aftermath import write

        write(self.folder.path, result, self.evidence)
        return result
