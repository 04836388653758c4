"""The verdict on a case: its steps' expectations in order, then its checks. Shared by runner and `recheck`.

Nothing here touches an engine: a stored run is judged exactly like a live one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from lab.checks import judge_checks
from lab.checks.common import Context, failed
from lab.evidence.model import CallRecord, RunRecord
from lab.evidence.store import Evidence
from lab.judging.services import judge_services
from lab.judging.steps import StepJudge
from lab.judging.values import recorded
from lab.scenario.calls import Call, Step
from lab.scenario.model import Scenario
from lab.scenario.steps import Await, Parallel, Run, all_steps
from lab.verdict import Finding, Verdict


def judge_case(
    scenario: Scenario, evidence: Evidence, live: Sequence[Finding] = (), *, broken: bool = False
) -> tuple[Finding, ...]:
    """All findings of a case: those of the steps in order, then those of the checks.

    `live` are findings that only the live run could make (a `wait_for` that did not come true, a step that
    hung until the scenario's time was up): they keep the position of their step. After the first failed step,
    nothing more is expected of the steps; a step without a record fails if none before it did. A background
    step is judged at its `await`, or after the last step. `broken`: the lab itself broke, so missing records
    are not the scenario's failure.
    """
    context = Context.of(evidence.records)
    steps = _judge_steps(scenario, evidence, context, live, broken)
    steps = [_with_absent_hosts(finding, scenario) for finding in steps]
    services = judge_services(scenario, evidence.records)
    values = recorded(scenario, evidence.records)
    missing = () if broken else values.findings
    judged = judge_checks(scenario.checks, evidence, replace(context, values=values.values))
    return (*steps, *services, *missing, *judged)


@dataclass
class _Walk:
    """The steps of a case, judged one after another."""

    judge: StepJudge
    calls: dict[str, CallRecord]
    runs: dict[str, RunRecord]
    live: dict[str, list[Finding]]
    ended: set[str]  #: steps with any record
    broken: bool
    findings: list[Finding] = field(default_factory=list)
    waiting: dict[str, Step] = field(default_factory=dict)

    def step(self, step: Step) -> None:
        live = self.live.pop(step.id, None)
        if live is not None:  # a step that hung: the result of its cut-off call does not matter
            self.findings += live
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
        elif record not in self.live and self._missing(step):
            reason = f"{step.do} has no record: the run ended before it did"
            self.findings.append(failed(step, f"{step.do}.record", "a step that ends", "no record", reason))

    def _missing(self, step: Step) -> bool:
        """Whether a record is missing: every call and program has one, other steps have their times."""
        if self.broken:
            return False
        return isinstance(step, Call | Run | Await) or step.id not in self.ended

    @property
    def failed(self) -> bool:
        return any(finding.verdict.bad for finding in self.findings)


def _judge_steps(
    scenario: Scenario, evidence: Evidence, context: Context, live: Sequence[Finding], broken: bool
) -> list[Finding]:
    records = evidence.records
    by_source: dict[str, list[Finding]] = {}
    for finding in live:
        by_source.setdefault(finding.source, []).append(finding)
    judge = StepJudge(context)
    judge.know(scenario.steps)
    walk = _Walk(
        judge,
        {call.step: call for call in records.calls},
        {run.step: run for run in records.runs},
        by_source,
        {step.step for step in records.steps},
        broken,
    )
    known = {step.id for step in all_steps(scenario.steps)}
    if any(finding.source not in known for finding in live):
        return list(live)  # a service was not ready: no step was started
    for step in scenario.steps:
        walk.step(step)
        if walk.failed:
            break
    if not walk.failed:
        for name, step in walk.waiting.items():
            walk.ends(step, name)
    return [*walk.findings, *(finding for rest in walk.live.values() for finding in rest)]


def _with_absent_hosts(finding: Finding, scenario: Scenario) -> Finding:
    """Explain a failed program that names a host that was not started: the name does not resolve."""
    if finding.verdict is not Verdict.FAIL or not finding.name.startswith("run."):
        return finding
    step = next((one for one in all_steps(scenario.steps) if one.id == finding.source), None)
    if isinstance(step, Await):
        step = next((one for one in all_steps(scenario.steps) if one.id == step.awaits), None)
    if not isinstance(step, Run):
        return finding
    command = " ".join(step.command)
    absent = [
        host
        for host in scenario.hosts
        if host not in scenario.used_hosts and re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", command)
    ]
    if not absent:
        return finding
    names = " and ".join(absent)
    why = "a host is started where a step or a check names it, or where it has a service"
    return replace(finding, reason=f"{finding.reason}; {names} was not started, and does not resolve: {why}")


def live_findings(findings: Sequence[Finding], scenario: Scenario) -> tuple[Finding, ...]:
    """The findings of a run that its records cannot reproduce: see `judge_case`."""
    steps = {step.id: step for step in all_steps(scenario.steps)}
    return tuple(
        replace(finding, place=steps[finding.source].place) if finding.source in steps else finding
        for finding in findings
        if _only_live(finding.name) or _of_no_file(finding, steps)
    )


def _of_no_file(finding: Finding, steps: Mapping[str, Step]) -> bool:
    """Whether a finding came from a program that used the lab: no scenario can reproduce it."""
    of_file = finding.source in steps or finding.source.startswith("checks[") or finding.name == "service.end"
    return not of_file


def _only_live(name: str) -> bool:
    """Whether only a live run can make a finding of this name: a step that hung or was impossible, a service
    that was not ready.

    `poll.ready` is not one of them, despite its name: the record of the call reproduces it.
    """
    return name.endswith((".timeout", ".refused")) or name == "service.ready"
