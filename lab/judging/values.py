"""The values of a case: what `record` keeps of the output of programs and services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lab.evidence.model import Records
from lab.evidence.services import label_of
from lab.place import Place
from lab.scenario.model import Scenario
from lab.scenario.steps import Run, all_steps
from lab.scenario.values import TextMatch
from lab.verdict import Finding, Verdict


@dataclass
class Recorded:
    """The values by name, and a finding for each that is missing."""

    values: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def recorded(scenario: Scenario, records: Records) -> Recorded:
    """All values of a case. A program that never ran has none, and gets no finding here."""
    found = Recorded()
    runs = {run.step: run for run in records.runs}
    for step in all_steps(scenario.steps):
        if isinstance(step, Run) and step.record and step.id in runs:
            run = runs[step.id]
            outputs = [run.stdout, run.stderr]
            _keep(found, step.record, outputs, step.id, step.place, f"the output of {step.command[0]}")
    for host in scenario.hosts.values():
        for spec in host.services.values():
            starts = [one for one in records.services if (one.host, one.service) == (host.name, spec.name)]
            if not spec.record or not starts:
                continue
            lines = [one for one in records.logs if (one.host, one.service) == (host.name, spec.name)]
            texts = [
                "".join(f"{line.text}\n" for line in lines if line.stream == stream)
                for stream in ("stdout", "stderr")
            ]
            name = label_of(starts[0])
            if any(one.log_cut for one in starts):
                reason = f"{name} wrote more than is kept, so its last output is unknown"
                for value in spec.record:
                    found.findings.append(_missing(value, spec.path, spec.place, reason))
                continue
            _keep(found, spec.record, texts, spec.path, spec.place, f"the log of {name}")
    return found


def _keep(
    found: Recorded,
    wanted: Mapping[str, TextMatch],
    outputs: list[str],
    source: str,
    place: Place,
    what: str,
) -> None:
    """The last match of each group: in stdout, or in stderr if stdout has none."""
    for name, match in wanted.items():
        texts = [text for output in outputs for text in list(_matches(match, output))[-1:]]
        if texts:
            found.values[name] = texts[0]
        else:
            reason = f"record {name}: nothing in {what} matches {match}"
            found.findings.append(_missing(name, source, place, reason))


def _matches(match: TextMatch, output: str) -> Iterator[str]:
    for one in re.finditer(match.text, output, re.MULTILINE):
        if one[1] is not None:
            yield one[1]


def _missing(name: str, source: str, place: Place, reason: str) -> Finding:
    return Finding("record", source, place, Verdict.FAIL, f"a value {name}", "none", reason=reason)
