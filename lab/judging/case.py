"""The verdict on a case: its steps' expectations in order, then its checks. Shared by runner and `recheck`.

Nothing here touches an engine: a stored run is judged exactly as a live one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lab.checks import judge_all
from lab.checks.common import Context, failed
from lab.checks.expect import judge_call, judge_run
from lab.evidence.model import CallRecord, RunRecord
from lab.evidence.store import Evidence
from lab.place import Place
from lab.scenario.expects import Expect, RunExpect
from lab.scenario.model import Scenario
from lab.scenario.steps import Await, Call, Connect, Parallel, Run, Sendto, Step, all_steps
from lab.verdict import Finding, Verdict

_BAD = (Verdict.FAIL, Verdict.ERROR)


@dataclass(frozen=True)
class StepJudge:
    """Says of a step that has ended what its `expect` makes of its record."""

    context: Context
    steps: Mapping[str, Step]  #: all of the scenario, by id; those inside `parallel` too
    awaits: Mapping[str, Await]  #: by the id of the step that is awaited

    @classmethod
    def of(cls, scenario: Scenario, context: Context) -> StepJudge:
        steps = tuple(all_steps(scenario.steps))
        return cls(
            context,
            {step.id: step for step in steps if not isinstance(step, Await)},
            {step.awaits: step for step in steps if isinstance(step, Await)},
        )

    def judge(
        self, step: Step, calls: Mapping[str, CallRecord], runs: Mapping[str, RunRecord]
    ) -> tuple[Finding, ...]:
        """The findings of one step by the records so far, its own among them; () where nothing is expected.

        An `await` speaks for the background step too: what either of them expects is judged.
        """
        if isinstance(step, Await):
            awaited = self.steps.get(step.awaits)
            own = () if awaited is None else self._one(awaited, step.awaits, calls, runs)
            return (*own, *self._one(step, step.awaits, calls, runs, by_await=True))
        return self._one(step, step.id, calls, runs)

    def _one(
        self,
        step: Step,
        record_of: str,
        calls: Mapping[str, CallRecord],
        runs: Mapping[str, RunRecord],
        *,
        by_await: bool = False,
    ) -> tuple[Finding, ...]:
        if not isinstance(step, Call | Run | Await):
            return ()
        context = self.context
        item = _Expecting(step.id, step.place, getattr(step, "expect", None))
        run = runs.get(record_of)
        if run is not None:
            findings = judge_run(item, run, tolerance=context.tolerance)
            # the background step itself has said already that the program could not run
            return tuple(f for f in findings if not (by_await and f.name == "run.error"))
        call = calls.get(record_of)
        if call is None:
            return ()
        caller = self.steps.get(record_of)
        other = caller if by_await else self.awaits.get(record_of)
        elsewhere = _error_of(other) is not None
        if by_await and call.error is not None and not elsewhere and _error_of(step) is None:
            return ()  # the background step has said that it failed
        return judge_call(
            item,
            call,
            rtt=context.rtt(call.host, self._peer(caller, call, calls), call.start_wall_ns),
            tolerance=context.tolerance,
            calls=calls,
            addresses=context.addresses,
            error_elsewhere=elsewhere,
        )

    def _peer(self, step: Step | None, call: CallRecord, calls: Mapping[str, CallRecord]) -> str | None:
        """The host at the other end of a call: as the step says, by the socket, by an earlier call on it."""
        if isinstance(step, Connect | Sendto):
            return self.context.host_of(step.to.host) if step.to.literal else step.to.host
        for end in (call.peer, call.remote):
            host = None if end is None else self.context.host_of(end.address.removeprefix("::ffff:"))
            if host is not None:
                return host
        others = [name for name in self.context.addresses if name != call.host]
        if len(others) == 1:  # two hosts: whom else could it talk to
            return others[0]
        for other in calls.values():
            same = (other.host, other.process, other.socket) == (call.host, call.process, call.socket)
            if same and other.remote is not None and call.socket is not None:
                return self.context.host_of(other.remote.address)
        return None


@dataclass(frozen=True, slots=True)
class _Expecting:
    """A step as `lab.checks.expect` sees it."""

    id: str
    place: Place
    expect: Expect | RunExpect | None


def _error_of(step: Step | None) -> str | None:
    expect = getattr(step, "expect", None)
    return expect.error if isinstance(expect, Expect) else None


def judge_case(
    scenario: Scenario, evidence: Evidence, told: Sequence[Finding] = (), *, broken: bool = False
) -> tuple[Finding, ...]:
    """All findings of a case: the steps' as they came, then the checks'.

    `told` are findings that only the live run could make (a `wait_for` that did not come true, a step that
    hung until the scenario's time was over): they stand where their step stands. After the first step that
    fails nothing more is expected of the steps; one without a record fails if none before it did. A
    background step is judged at its `await`, or after the last step. `broken`: the lab itself broke on the
    way, so that steps without a record are not the scenario's failure.
    """
    context = Context.of(evidence.records)
    steps = _judge_steps(scenario, evidence, context, told, broken)
    return (*steps, *judge_all(scenario.checks, evidence, context))


@dataclass
class _Walk:
    """The steps of a case, judged one after another."""

    judge: StepJudge
    calls: dict[str, CallRecord]
    runs: dict[str, RunRecord]
    told: dict[str, list[Finding]]
    ended: set[str]  #: steps of which there is any record
    broken: bool
    findings: list[Finding] = field(default_factory=list)
    waiting: dict[str, Step] = field(default_factory=dict)

    def step(self, step: Step) -> None:
        told = self.told.pop(step.id, None)
        if told is not None:  # a step that hung: what its cut-off call returned is of no interest
            self.findings += told
        elif isinstance(step, Parallel):
            for inner in step.steps:
                self.step(inner)
        elif isinstance(step, Call | Run) and step.background:
            self.waiting[step.id] = step
        elif isinstance(step, Await):
            self.waiting.pop(step.awaits, None)
            self.ends(step, step.awaits)
        else:
            self.ends(step, step.id)

    def ends(self, step: Step, record: str) -> None:
        if record in self.calls or record in self.runs:
            self.findings += self.judge.judge(step, self.calls, self.runs)
        elif record not in self.told and self._missing(step):
            reason = f"{step.do} has no record: the run ended before it did"
            self.findings.append(failed(step, f"{step.do}.record", "a step that ends", "no record", reason))

    def _missing(self, step: Step) -> bool:
        """Whether a record should be there: of every call and program, of other steps their times."""
        if self.broken:
            return False
        return isinstance(step, Call | Run | Await) or step.id not in self.ended

    @property
    def failed(self) -> bool:
        return any(finding.verdict in _BAD for finding in self.findings)


def _judge_steps(
    scenario: Scenario, evidence: Evidence, context: Context, told: Sequence[Finding], broken: bool
) -> list[Finding]:
    records = evidence.records
    by_source: dict[str, list[Finding]] = {}
    for finding in told:
        by_source.setdefault(finding.source, []).append(finding)
    walk = _Walk(
        StepJudge.of(scenario, context),
        {call.step: call for call in records.calls},
        {run.step: run for run in records.runs},
        by_source,
        {step.step for step in records.steps},
        broken,
    )
    for step in scenario.steps:
        walk.step(step)
        if walk.failed:
            break
    if not walk.failed:
        for name, step in walk.waiting.items():
            walk.ends(step, name)
    return [*walk.findings, *(finding for rest in walk.told.values() for finding in rest)]


def told_live(findings: Sequence[Finding], scenario: Scenario) -> tuple[Finding, ...]:
    """Of a run's findings those that its records cannot tell again: see `judge_case`."""
    steps = {step.id: step for step in all_steps(scenario.steps)}
    return tuple(
        replace(finding, place=steps[finding.source].place)
        for finding in findings
        if finding.source in steps and finding.name.endswith(LIVE_ONLY)
    )


#: How the names of findings end that only a live run can make.
LIVE_ONLY = (".timeout",)
