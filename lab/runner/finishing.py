"""The end of a case: its verdict, `result.json` and the reports, from evidence alone.

It is a module of its own because its imports take 0.1 s: they are done while the containers start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from lab.errors import LabError
from lab.evidence.model import LinkProof
from lab.evidence.store import Evidence
from lab.judging.case import judge_case, live_findings
from lab.judging.trust import assess
from lab.judging.values import recorded
from lab.report import prepare_html, write_reports
from lab.result import Result, write_result
from lab.scenario.model import Scenario
from lab.verdict import Finding

__all__ = ["Judged", "judge", "prepare_html", "write"]


class Judged(Struct, frozen=True):
    """The findings from the evidence of a case, and the reason not to believe them, if there is one."""

    findings: tuple[Finding, ...] = ()
    proofs: tuple[LinkProof, ...] = ()
    distrust: LabError | None = None
    values: Mapping[str, str] = {}


def judge(scenario: Scenario, evidence: Evidence, so_far: Sequence[Finding], *, broken: bool) -> Judged:
    """Judges a whole case. `so_far` are the findings made while it ran.

    `broken`: the lab itself broke, so that steps may have no record.
    """
    findings = judge_case(scenario, evidence, live_findings(so_far, scenario), broken=broken)
    return Judged(findings, *assess(evidence), recorded(scenario, evidence.records).values)


def write(folder: Path, result: Result, evidence: Evidence | None) -> None:
    """Writes `result.json` and the reports into a run folder."""
    write_result(folder, result)
    write_reports(folder, result, evidence)
