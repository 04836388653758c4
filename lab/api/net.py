"""A running lab: its hosts by name, what is done to its network, checks in the middle, and its end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgspec.structs import replace

from lab.api.call import Call
from lab.api.errors import CheckFailed
from lab.api.host import Host
from lab.api.steps import Time, caller, check_of, step_of
from lab.checks import judge_checks
from lab.clock import Deadline
from lab.errors import DeadlineExceeded, LabError
from lab.evidence.model import CallRecord, RunRecord
from lab.host.channel import AgentRefused
from lab.place import Place
from lab.result import Environment, Result
from lab.scenario.calls import Call as CallStep
from lab.scenario.load import Case
from lab.scenario.problems import Problem, ScenarioError, did_you_mean
from lab.scenario.steps import Run as RunStep
from lab.verdict import Finding, Verdict

if TYPE_CHECKING:
    from lab.api.run import LabRun
    from lab.evidence.store import Evidence
    from lab.session.session import Session

__tracebackhide__ = True  #: a failed test shows its own lines, not these

T = TypeVar("T")


class Lab:
    """What `lab.up` gives: usable from any thread.

    `with` or `.start()` brings it up. The end of the block or `.down()` takes it down, whatever happened, and
    writes the run folder.
    """

    def __init__(self, case: Case, make_run: Callable[[], LabRun], *, lazily: bool = False) -> None:
        """`make_run` finds the engine and makes the folder; with `lazily`, what needs the lab starts it."""
        self.case = case
        self.name = case.scenario.name
        self._make_run = make_run
        self._lazily = lazily
        #: Finds the engine by what it is given; the pytest plugin skips a test where there is none.
        self.before_start: Callable[[Callable[[], LabRun]], LabRun] = lambda find: find()
        self._run: LabRun | None = None
        self._stack = ExitStack()
        self._session: Session | None = None
        self._result: Result | None = None
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._named: set[str] = set()  #: steps that the program gave an id: a check may ask about that moment
        self._judged: list[Finding] = []  #: by checks and steps, in the order in which they were

    # --- begin and end ---

    def start(self) -> Self:
        """Brings everything up; returns when all services are ready. Raises `LabError` where it cannot, and
        `lab.CheckFailed` where a service does not get ready."""
        with self._lock:
            if self._run is not None:
                raise LabError(f"{self.name}: was started already", hint="lab.up(…) makes another one")
            run = self._run = self.before_start(self._make_run)
            try:
                self._session = uninterrupted(
                    lambda: self._stack.enter_context(run.standing()), run.lab.interrupt.set
                )
                self._session.read_states_after(self._named)
                _must_hold(run.record.findings)
            except BaseException as error:
                if isinstance(error, LabError):
                    run.broke(error)
                self._end(error)
                raise
        return self

    def down(self, error: BaseException | None = None) -> None:
        """Ends the lab: what goes on is awaited, the network settles, evidence is taken, everything is taken
        down. May be called twice. `error` is the exception that ends the block, if any.

        Raises `LabError` where the lab cannot be believed, `lab.CheckFailed` where a service ended by itself
        or a call that nobody awaited failed; neither where there is an `error`.
        """
        with self._lock:
            if self._run is None or self._result is not None:
                return
            result = self._end(error)
        if error is not None:
            return
        if self._run.cause is not None:
            raise self._run.cause
        if result.verdict is Verdict.FAIL:
            raise CheckFailed([one for one in result.findings if one.verdict.bad])

    def _end(self, error: BaseException | None) -> Result:
        run, session = self._run, self._session
        assert run is not None
        run.failures, run.passed = self._left_by(error)

        def end() -> Result:
            try:
                if session is not None:
                    try:
                        run.end(session)
                    except LabError as broken:
                        run.broke(broken)
                self._stack.close()
            except LabError as broken:
                run.broke(broken)
            return run.finish()

        try:
            self._result = uninterrupted(end, lambda _: None)
        finally:
            self._session = None
        return self._result

    def _left_by(self, error: BaseException | None) -> tuple[list[Finding], list[Finding]]:
        """The findings of how the program left its lab, and the checks that held. A failure that it caught
        decides nothing."""
        held = [one for one in self._judged if not one.verdict.bad]
        if error is None or (isinstance(error, LabError) and self._run and self._run.cause is error):
            return [], held
        if isinstance(error, CheckFailed):
            return list(error.findings), held
        text = str(error)
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        place = _place_of(error)
        actual = said.splitlines()[0]
        failure = Finding(
            "exception", "block", place, Verdict.FAIL, "the end of the block", actual, reason=said
        )
        return [failure], held

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down(error)

    # --- what there is ---

    @property
    def session(self) -> Session:
        """The running lab. Raises `LabError` before the start and after the end."""
        if self._session is None:
            if self._lazily and self._run is None:
                self.start()
                return self.session
            state = "has not been started" if self._run is None else "is down"
            raise LabError(f"{self.name} {state}", hint="use it inside `with lab.up(…) as net:`")
        return self._session

    def __getitem__(self, name: str) -> Host:
        """A host by its name."""
        if name not in self.case.scenario.hosts:
            known = list(self.case.scenario.hosts)
            raise KeyError(f"no host {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}")
        _ = self.session
        return Host(self, name)

    def __iter__(self) -> Any:
        return iter(self.case.scenario.hosts)

    @property
    def hosts(self) -> dict[str, Host]:
        """All hosts by name."""
        return {name: Host(self, name) for name in self.case.scenario.hosts}

    @property
    def started(self) -> bool:
        """Whether it was started; it may since be down."""
        return self._run is not None

    @property
    def environment(self) -> Environment | None:
        """Where it runs: engine and images; the wire's facts are known when the block has ended."""
        return self._run.environment() if self._run is not None else None

    @property
    def folder(self) -> Path:
        """The run folder: `report.html`, `result.json`, captures. It is complete when the block has ended."""
        if self._run is None:
            raise LabError(f"{self.name} has not been started", hint="use it inside `with lab.up(…) as net:`")
        return self._run.folder.path

    @property
    def result(self) -> Result:
        """The result, when the block has ended."""
        if self._result is None:
            raise LabError(f"{self.name} has no result before its end")
        return self._result

    @property
    def run_id(self) -> str:
        """The id of the run, which is on its containers."""
        if self._run is None:
            raise LabError(f"{self.name} has not been started")
        return self._run.id

    @property
    def calls(self) -> list[CallRecord]:
        """The records of all socket calls that have ended, in that order."""
        return list(self._run.record.calls.values()) if self._run is not None else []

    @property
    def findings(self) -> list[Finding]:
        """What has been judged so far; once the block has ended, all that the result has."""
        return list(self._result.findings) if self._result is not None else list(self._judged)

    def evidence(self) -> Evidence:
        """The typed evidence so far: the network settles, the captures are read, and everything goes on."""
        if self._result is not None and self._run is not None:
            if self._run.evidence is None:
                raise LabError(f"{self.name} left no evidence: it broke before")
            return self._run.evidence
        self.session.settle()
        evidence: Evidence = self._lab_breaks_at(lambda: self.session.snapshot())
        return evidence

    # --- the network ---

    def link(self, host: str, **keys: Any) -> None:
        """Changes a host's link in place; only what is named: `delay="200ms"`, `up={…}`, `down={…}`."""
        self.do("link", host=host, **keys)

    def cut(self, host: str, direction: str = "both") -> None:
        """Pulls the cable: silent, no ICMP."""
        self.do("cut", host=host, direction=direction)

    def restore(self, host: str, direction: str = "both") -> None:
        self.do("restore", host=host, direction=direction)

    def partition(self, *hosts: str, between: Sequence[str] = ()) -> None:
        """No packet passes between two hosts: `net.partition("a", "b")`."""
        self.do("partition", between=_two("partition", hosts, between))

    def heal(self, *hosts: str, between: Sequence[str] = ()) -> None:
        self.do("heal", between=_two("heal", hosts, between))

    def drop(self, from_: str, to: str, match: Any = "any", count: int = 1) -> None:
        """The next `count` matching packets, exactly, do not arrive: `net.drop("client", "server",
        "syn")`."""
        self.do("drop", from_=from_, to=to, match=match, count=count)

    def sleep(self, seconds: Time) -> None:
        """Lets time pass: seconds or a duration text."""
        self.do("sleep", for_=seconds)

    # --- steps ---

    def fresh(self, word: str) -> str:
        """A unique name: `connect-3`."""
        return f"{word}-{next(self._numbers)}"

    def do(self, do: str, **keys: Any) -> None:
        """Any step of the format that is not a call, by its keys."""
        place = caller()
        step = step_of(do, {"id": self.fresh(do), **keys}, place)
        self._known(step.hosts(), place)
        self._act(lambda: self.session.act(step))

    def wait_for(self, **keys: Any) -> None:
        """The step `wait_for`. Raises `TimeoutError` if it does not come true in time."""
        place = caller()
        step = step_of("wait_for", {"id": self.fresh("wait_for"), **keys}, place)
        self._known(step.hosts(), place)
        findings = self._findings_of(lambda: self.session.act(step))
        if findings:
            raise TimeoutError(findings[0].reason)

    def call(self, do: str, convert: Callable[[CallRecord | RunRecord], Any], **keys: Any) -> Any:
        """A socket call or a program; what `convert` makes of its record, or a `Call` in the background."""
        place = caller()
        step = step_of(do, {"id": self.fresh(do), **keys}, place)
        assert isinstance(step, CallStep | RunStep)
        self._known((step.at,), place)
        if keys.get("id"):
            self._named.add(step.id)
        session = self.session
        record = self._act(lambda: session.act(step, judged=step.background, whole=True))
        if record is None:
            return Call(session, step.id, convert)
        return convert(record)

    def _act(self, act: Callable[[], CallRecord | RunRecord | None]) -> CallRecord | RunRecord | None:
        """Does a step; its failure as a step is raised."""
        made: list[CallRecord | RunRecord | None] = []
        findings = self._findings_of(lambda: made.append(act()))
        if findings:
            raise CheckFailed(findings)
        return made[0] if made else None

    def _findings_of(self, act: Callable[[], object]) -> list[Finding]:
        """The failures that a step makes; they are the program's to judge, not the run's."""
        run = self._run
        assert run is not None
        before = len(run.record.findings)
        self._lab_breaks_at(act)
        made = [one for one in run.record.findings[before:] if one.verdict.bad]
        for one in made:
            run.record.findings.remove(one)
        self._judged += made
        return made

    def _lab_breaks_at(self, act: Callable[[], Any]) -> Any:
        """A `LabError` that the lab itself raises breaks the run; a refusal is an answer to the program."""
        try:
            return act()
        except (AgentRefused, DeadlineExceeded):
            raise
        except LabError as error:
            if self._run is not None and self._session is not None:
                self._run.broke(error)
            raise

    def _known(self, hosts: Sequence[str], place: Place) -> None:
        known = self.case.scenario.hosts
        for name in hosts:
            if name not in known:
                text = f"no host {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}"
                raise ScenarioError([Problem(place, "", text)])

    # --- judging ---

    def check(self, check: str | Mapping[str, Any], /, **keys: Any) -> Finding:
        """Settles, judges what has been captured so far, and goes on. Returns its finding.

        A name and the keys of the check (`from_` is `from`), or a mapping as in the YAML. Raises
        `lab.CheckFailed` with the finding's text where it does not hold.
        """
        typed = check_of(check, keys, caller(), f"net.check[{len(self._judged)}]")
        self._known(typed.hosts(), typed.place)
        (finding,) = judge_checks((typed,), self.evidence())
        self._judged.append(finding)
        _must_hold([finding])
        return finding

    def play(self) -> list[Finding]:
        """Runs the steps of the scenario file and then its checks. Returns their findings.

        Raises `lab.CheckFailed` with those that failed; after the first step that fails nothing more is
        done.
        """
        session, run, scenario = self.session, self._run, self.case.scenario
        assert run is not None
        before = len(run.record.findings)

        def play() -> None:
            session.know(scenario.steps)
            session.deadline = Deadline.after(run.timeout.seconds, f"the scenario's {run.timeout}")
            try:
                for step in scenario.steps:
                    session.act(step)
                    if any(one.verdict.bad for one in run.record.findings[before:]):
                        return
                session.finish()
            finally:
                session.deadline = Deadline("no limit", None)

        self._lab_breaks_at(play)
        made = run.record.findings[before:]
        del run.record.findings[before:]
        made = [replace(one, source=f"play: {one.source}") for one in made]
        if not any(one.verdict.bad for one in made) and scenario.checks:
            found = session.judge(scenario.checks, self.evidence())
            made += [replace(one, source=f"play: {one.source}") for one in found]
        self._judged += made
        _must_hold(made)
        return made

    def __repr__(self) -> str:
        state = "down" if self._result is not None else "up" if self._session is not None else "not started"
        return f"<Lab {self.name}: {state}>"


def _must_hold(findings: Sequence[Finding]) -> None:
    bad = [one for one in findings if one.verdict.bad]
    if bad:
        raise CheckFailed(bad)


def _two(do: str, hosts: Sequence[str], between: Sequence[str]) -> list[str]:
    pair = list(between) or list(hosts[0] if len(hosts) == 1 and not isinstance(hosts[0], str) else hosts)
    if len(pair) != 2:
        raise TypeError(f'{do} takes two hosts, as net.{do}("client", "server"); given: {len(pair)}')
    return pair


def _place_of(error: BaseException) -> Place:
    """The line that raised it, as the program sees it: the innermost not in the lab's own code."""
    here = str(Path(__file__).parent.parent)
    place = caller()
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(here):
            place = Place(trace.tb_frame.f_code.co_filename, trace.tb_lineno, 1)
            break
        trace = trace.tb_next
    return place


def uninterrupted(work: Callable[[], T], interrupted: Callable[[str], None]) -> T:
    """Does `work` in its own thread, to its end: a Ctrl-C, which only the main thread gets, calls
    `interrupted` and is raised when the work is over. So nothing stays half up or half down."""
    with ThreadPoolExecutor(1, thread_name_prefix="lab") as pool:
        future = pool.submit(work)
        stopped: KeyboardInterrupt | None = None
        while not future.done():
            try:
                wait([future])
            except KeyboardInterrupt as error:
                stopped = error
                interrupted("Ctrl-C")
    if stopped is not None:
        raise stopped from future.exception()
    return future.result()
