"""One case from bring-up to verdict: a client of the session that writes what it reports to a run folder."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from lab import __version__
from lab.clock import Deadline
from lab.engine.base import Engine
from lab.engine.clean import RunLock
from lab.engine.images import Images, ImageStore
from lab.errors import LabError, NothingImpairs, SysctlRefused
from lab.files import project_root, read_bytes, replacing
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
from lab.scenario.checks import steps_asked
from lab.scenario.load import RUN_LOG, Case
from lab.scenario.model import Scenario
from lab.session.events import Events, Listener, Said
from lab.session.folder import RunFolder, new_run_id
from lab.session.interrupt import Interrupt, Interrupted
from lab.session.log import log_to
from lab.session.opening import open_session
from lab.session.plan import Plan, plan_case
from lab.session.record import Record
from lab.session.service_images import ensure_service_images
from lab.session.service_log import LINES, TAIL
from lab.session.testbed import testbed
from lab.site import Site, WireChoice
from lab.units import Duration
from lab.verdict import Verdict

if TYPE_CHECKING:
    from lab.evidence.store import Evidence
    from lab.runner.finishing import Judged
    from lab.session.session import Session


def load_finishing() -> None:
    """Imports what the end of a case needs, while the lab comes up."""
    importlib.import_module("lab.runner.finishing").prepare_html()


@dataclass
class CaseRunner:
    """Runs one case after another, or several at once, on one engine."""

    engine: Engine
    store: ImageStore  #: the same engine, for images
    images: Images
    site: Site
    wire: WireChoice
    keep: bool | Literal["failed"]  #: which labs stay up
    interrupt: Interrupt
    listener: Listener  #: to the events of every case, beside each case's own
    on_failure: Callable[[CaseRun], None] | None = None  #: called while the failed lab is still up

    def run(self, case: Case, run: str, folder: RunFolder, cpu: int) -> Result:
        """Runs the whole case; leaves its result and reports in `folder`. Only a bug makes it raise.

        `cpu` is the number of the CPU that moves its packets; cases side by side have different ones.
        """
        return CaseRun(self, case, run, folder, cpu).all()

    def bring_up(self, case: Case) -> str:
        """Brings up only the hosts and the wire of a case, and leaves them up; returns the id of the run.

        Raises `LabError`.
        """
        run, standing, events = new_run_id(), False, Events(self.listener)
        images = self.service_images(case, events)
        with RunLock.take(run) as lock:
            plan = self.plan(case, run, lock, images, os.getpid())
            events.emit(_bringing_up(case))
            with testbed(
                self.engine,
                self.images,
                plan,
                self.site,
                events,
                self.interrupt,
                lambda: standing,
                lambda: None,
            ) as bed:
                for error in bed.services.start(bed.services.first(), Deadline("no limit", None)):
                    raise error
                standing = True
            lock.keep()
        return run

    def service_images(self, case: Case, events: Events) -> dict[tuple[str, str], str]:
        """The tag of the image of each service, there when this returns."""
        return ensure_service_images(
            self.store,
            self.images,
            case.scenario.hosts,
            case.scenario.start_order,
            lambda text: events.emit(Said(text, lasting=True)),
            lambda line: events.emit(Said(line)),
        )

    def plan(
        self, case: Case, run: str, lock: RunLock, images: Mapping[tuple[str, str], str], cpu: int
    ) -> Plan:
        return plan_case(
            case.scenario,
            run,
            self.wire,
            lock.labels(),
            keep=bool(self.keep),
            cpu=cpu,
            service_images=images,
        )


def _bringing_up(case: Case) -> Said:
    return Said(f"{case.name}: bringing up {', '.join(case.scenario.used_hosts)}")


class CaseRun:
    """The state of one case while it runs.

    `all` runs a case whose steps are known; `lab.api` acts on its own in a block of `standing`.
    """

    def __init__(self, lab: CaseRunner, case: Case, run: str, folder: RunFolder, cpu: int) -> None:
        self.lab = lab
        self.case = case
        self.scenario: Scenario = case.scenario
        self.id = run
        self.folder = folder
        self.cpu = cpu
        self.record = Record()
        self.events = Events(self.record, lab.listener)
        self.started = datetime.now(UTC)
        self.evidence: Evidence | None = None
        self.judged: Judged | None = None
        self.error: ErrorFacts | None = None
        self.cause: LabError | None = None  #: the exception that `error` describes
        self.notes: list[str] = []
        self.stays = False  #: whether the lab stays up

    def all(self) -> Result:
        self.keep_sources()
        skip = self._why_skip()
        if skip:
            return self._finish(self._result(Verdict.SKIP, skip))
        try:
            with self.standing() as session:
                self._act(session)
        except NothingImpairs as error:
            if "netem" in self.scenario.requires:
                return self._finish(self._result(Verdict.SKIP, f"requires netem: {error}"))
            self.broke(error)
        except LabError as error:
            self.broke(error)
        return self.finish()

    @contextmanager
    def standing(self) -> Iterator[Session]:
        """The lab of the case, up, its services ready. At the end of the block the network settles, the
        evidence is taken, everything is taken down, and the case is judged.

        A `LabError` of the block is recorded as what broke; any other exception leaves no evidence. Raises
        `LabError` if the lab cannot be brought up or taken down.
        """
        with (
            log_to(self.folder.path / RUN_LOG, self.events),
            ThreadPoolExecutor(1, thread_name_prefix="judge") as judge,
        ):
            judging: Future[None] | None = None
            try:
                images = self.lab.service_images(self.case, self.events)
                with RunLock.take(self.id) as lock:
                    with self._session(self._plan(lock, images)) as session:
                        try:
                            self._begin(session)
                            yield session
                            self._settle(session)
                        except Interrupted:
                            raise
                        except LabError as error:
                            self.broke(error)
                        self._collect(session)
                        if self.evidence is not None:
                            judging = judge.submit(self._judge, self.evidence)
                        if self.lab.on_failure is not None or self.lab.keep == "failed":
                            self._look_at_failure(judging)
                        self.stays = self.lab.keep is True or (self.lab.keep == "failed" and self._bad())
                    if self.stays:
                        lock.keep()
            finally:
                if judging is not None:
                    judging.result()

    def _look_at_failure(self, judging: Future[None] | None) -> None:
        """Calls `on_failure` after a failure, while everything is still up."""
        if judging is not None:
            judging.result()
        if self.lab.on_failure is not None and self._bad():
            self.lab.on_failure(self)

    def _bad(self) -> bool:
        """Whether the verdict will be FAIL or ERROR."""
        judged = self.judged
        findings = judged.findings if judged is not None else self.record.findings
        distrust = judged is not None and judged.distrust is not None
        bad = any(one.verdict.bad for one in findings)
        return bad or distrust or self.error is not None

    def finish(self) -> Result:
        """Writes the result of the case and its reports into its folder; returns the result."""
        if self.judged is not None and self.judged.distrust is not None:
            self.broke(self.judged.distrust)
        return self._finish(self._verdict())

    def keep_sources(self) -> None:
        """Copies the scenario and its topology into the run folder, for `lab recheck`."""
        (self.folder.path / SCENARIO_FILE).write_text(self.case.source_text, encoding="utf-8")
        if self.scenario.topology is not None:
            source = self.case.path.parent / self.scenario.topology.path
            with replacing(self.folder.path / TOPOLOGY_FILE) as copy:
                copy.write(read_bytes(source, root=project_root(self.case.path)))
        images = self.lab.images.host.tag, self.lab.images.wire.tag
        (self.folder.path / "compose.yml").write_text(compose_text(self.scenario, images), encoding="utf-8")

    def _why_skip(self) -> str:
        missing = [what for what in self.scenario.requires if what in ("ipv6", "swarm")]
        return f"requires {', '.join(missing)}, which this lab does not have yet" if missing else ""

    def _plan(self, lock: RunLock, images: Mapping[tuple[str, str], str]) -> Plan:
        return self.lab.plan(self.case, self.id, lock, images, self.cpu)

    def _session(self, plan: Plan) -> AbstractContextManager[Session]:
        self.events.emit(_bringing_up(self.case))
        return open_session(
            self.lab.engine,
            self.lab.images,
            self.lab.site,
            plan,
            self.events,
            self.record,
            self.lab.interrupt,
            steps=self.scenario.steps,
            keep=lambda: self.stays,
            meanwhile=load_finishing,
        )

    @property
    def timeout(self) -> Duration:
        """How long the steps may take."""
        return self.scenario.timeout or self.lab.site.timeout

    def _begin(self, session: Session) -> None:
        if self.scenario.start_order:
            self.events.emit(Said(f"{self.case.name}: starting services"))
            with self.events.phase("services"):
                session.start_services()

    def _act(self, session: Session) -> None:
        """Carries out the steps up to the first that fails, then ends what still runs in the background."""
        session.deadline = Deadline.after(self.timeout.seconds, f"the scenario's {self.timeout}")
        self.events.emit(Said(f"{self.case.name}: steps begin"))
        session.read_states_after(steps_asked(self.scenario.checks))
        with self.events.phase("steps"):
            for step in self.scenario.steps:
                if self.record.failed:
                    break
                session.act(step)
            session.finish()

    def _settle(self, session: Session) -> None:
        with self.events.phase("settle"):
            if not session.settle():
                self.notes.append(
                    "the network was still busy 3 s after the last step: the captures end there"
                )

    def _collect(self, session: Session) -> None:
        """Takes the evidence, even if something broke."""
        with self.events.phase("evidence"):
            self.evidence, broken = session.collect(self.folder)
        self.notes += [
            f"{one.service} of {one.host} wrote more than is kept: "
            f"the first {LINES:,} lines are there, and the last {TAIL}"
            for one in self.evidence.records.services
            if one.log_cut
        ]
        if broken is not None:
            self.broke(broken)

    def _judge(self, evidence: Evidence) -> None:
        """Judges in a thread of its own, while the hosts are taken down."""
        from lab.runner.finishing import judge  # loaded by now: see `load_finishing`

        with self.events.phase("judge"):
            self.judged = judge(self.scenario, evidence, self.record.findings, broken=self.error is not None)

    def broke(self, error: LabError) -> None:
        """Keeps the first error as the case's; later ones, mostly its consequences, become notes."""
        notes = getattr(error, "__notes__", ())
        message = "\n".join([str(error), *notes])
        if isinstance(error, SysctlRefused):
            message = f"{self.case.sysctl_place(error.host, error.sysctl)}: {message}"
        if self.error is None:
            self.cause = error
            self.error = ErrorFacts(type(error).__name__, message, error.hint)
        else:
            self.notes.append(message)

    def _verdict(self) -> Result:
        """The verdict from what was seen, what broke, and what the wire did unasked."""
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
            seconds=round(self.events.seconds(), 3),
            findings=self.judged.findings if self.judged is not None else (),
            error=self.error,
            environment=self.environment(),
            phases=tuple(sorted(self.record.phases, key=lambda phase: phase.start)),
            links=self.judged.proofs if self.judged is not None else (),
            streams=records.streams if records else (),
            captures=tuple(dict.fromkeys(c.path for c in records.captures)) if records else (),
            notes=tuple(self.notes),
            values=self.judged.values if self.judged is not None else {},
        )

    def environment(self) -> Environment:
        """Where the case runs; the facts of the wire are known only once there is evidence."""
        info, images = self.lab.engine.info(), self.lab.images
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
        from lab.runner.finishing import write  # as above

        write(self.folder.path, result, self.evidence)
        return result
