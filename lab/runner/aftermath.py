"""What a case needs once its hosts stand: judging, evidence, result and reports.

A module of its own because its imports take 0.3 s: the runner loads it while the containers start, and has
the page's template compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lab.checks.common import Context, link_changes
from lab.errors import LabError
from lab.evidence.model import LinkProof
from lab.evidence.store import Evidence
from lab.judging.case import LIVE_ONLY, StepJudge, judge_case
from lab.judging.trust import doubts
from lab.report import prepare_html, write_reports
from lab.result import Result, write_result
from lab.scenario.model import Scenario
from lab.scenario.steps import Step
from lab.session.collect import collect, read_counters
from lab.session.plan import place
from lab.session.record import Record
from lab.session.testbed import Testbed
from lab.tolerance import Tolerance
from lab.verdict import Finding

__all__ = ["Judged", "collect", "judge_all", "live_judge", "prepare_html", "read_counters", "write"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the evidence of a case says, and why it is not to be believed, if so."""

    findings: tuple[Finding, ...] = ()
    proofs: tuple[LinkProof, ...] = ()
    doubt: LabError | None = None


def live_judge(
    scenario: Scenario, bed: Testbed, tolerance: Tolerance
) -> Callable[[Step, Record], tuple[Finding, ...]]:
    """Judges a step that has just ended, by the links as they are now."""
    addresses = {host.name: str(place(bed.subnet, host.number).address) for host in bed.plan.hosts}
    context = Context(addresses, bed.plan.links, tolerance)
    judges = StepJudge.of(scenario, context)

    def judge(step: Step, record: Record) -> tuple[Finding, ...]:
        now = replace(context, changes=link_changes(bed.wire.events))
        return replace(judges, context=now).judge(step, record.calls, record.runs)

    return judge


def judge_all(scenario: Scenario, evidence: Evidence, record: Record, *, broken: bool) -> Judged:
    """The whole verdict. `broken`: the lab itself broke, so steps may have no record."""
    told = tuple(f for f in record.findings if f.name.endswith(LIVE_ONLY))
    findings = judge_case(scenario, evidence, told, broken=broken)
    proofs, doubt = doubts(evidence)
    return Judged(findings, proofs, doubt)


def write(folder: Path, result: Result, evidence: Evidence | None) -> None:
    """`result.json` and the reports into a run folder."""
    write_result(folder, result)
    write_reports(folder, result, evidence)
