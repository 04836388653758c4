"""Judges a stored run again, by its own scenario or by another's expectations. Needs no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from lab.errors import UsageError
from lab.evidence.store import Evidence, load_evidence
from lab.files import is_file, project_root
from lab.judging.case import judge_case, live_findings
from lab.judging.values import recorded
from lab.result import SCENARIO_FILE, TOPOLOGY_FILE, Result, read_result
from lab.scenario import tree
from lab.scenario.load import Case, load
from lab.scenario.model import Scenario
from lab.scenario.same import same_but_expectations
from lab.verdict import Verdict


def recheck(folder: Path, scenario: Scenario | None = None) -> Result:
    """A new result of the run in `folder`, by `scenario` or by the one that was run.

    What the lab said of itself stays: a run that ended in ERROR or SKIP has no verdict on its scenario, and
    gets none here. Nothing is written. Raises `UsageError` where it is no run folder or the scenario differs
    in more than expectations and checks.
    """
    stored = read_result(folder)
    own = stored_case(folder, stored).scenario
    if scenario is not None:
        check_same_but_expectations(own, scenario)
    if stored.verdict is Verdict.SKIP:
        return stored
    return judge_again(stored, own if scenario is None else scenario, load_evidence(folder))


def recheck_file(folder: Path, path: Path) -> Result:
    """`recheck` by the case of another file that has the run's parameters.

    A copy of the scenario that lies elsewhere no longer finds its topology: then it is the run's own.
    """
    stored = read_result(folder)
    name = _topology_name(path)
    lost = name is not None and not is_file(path.parent / name, project_root(path))
    cases = load(path, topology=_topology(folder) if lost else None, stored=True)
    return recheck(folder, _case_of(cases, stored.params, str(path)).scenario)


def judge_again(stored: Result, scenario: Scenario, evidence: Evidence) -> Result:
    """The result with its findings made anew; the pure part of `recheck`."""
    live = live_findings(stored.findings, scenario)
    values = recorded(scenario, evidence.records).values
    if stored.error is not None:
        return replace(stored, findings=judge_case(scenario, evidence, live, broken=True), values=values)
    findings = judge_case(scenario, evidence, live)
    verdict = Verdict.of(finding.verdict for finding in findings)
    first = next((finding for finding in findings if finding.verdict is verdict), None)
    reason = "" if verdict is Verdict.PASS or first is None else first.reason
    return replace(stored, findings=findings, verdict=verdict, reason=reason, values=values)


def stored_case(folder: Path, stored: Result | None = None) -> Case:
    """The case that was run, from the run folder's copy of its scenario."""
    known = stored or read_result(folder)
    path = folder / SCENARIO_FILE
    if not is_file(path, folder):
        raise UsageError(f"{folder}: no file {SCENARIO_FILE} of its own in it: not a whole run folder")
    return _case_of(load(path, topology=_topology(folder), stored=True), known.params, str(path))


def _topology(folder: Path) -> Path | None:
    """The run's own copy of its topology. No other: where it lay is the word of whoever sent the run."""
    copy = folder / TOPOLOGY_FILE
    if is_file(copy, folder):
        return copy
    if _topology_name(folder / SCENARIO_FILE) is None:
        return None
    raise UsageError(
        f"{folder}: no file {TOPOLOGY_FILE} of its own in it, which its scenario has: not a whole run folder"
    )


def _topology_name(path: Path) -> str | None:
    """What a scenario file says under `topology`; None too where it cannot be read: `load` says why."""
    try:
        root, _ = tree.parse(tree.read_text(path, str(path), project_root(path)), str(path))
    except tree.Unreadable:
        return None
    entry = root.entries.get("topology") if isinstance(root, tree.Mapping) else None
    node = entry.node if entry is not None else None
    return node.value if isinstance(node, tree.Scalar) and isinstance(node.value, str) else None


def _case_of(cases: Sequence[Case], params: Mapping[str, Any], where: str) -> Case:
    """The case with these parameters."""
    wanted = {name: str(value) for name, value in params.items()}
    for case in cases:
        if {name: str(value) for name, value in case.params.items()} == wanted:
            return case
    shown = ", ".join(f"{name}={value}" for name, value in wanted.items()) or "no parameters"
    raise UsageError(
        f"{where}: it has no case with {shown}, as the run has",
        hint="the params of the file must hold the run's own",
    )


def check_same_but_expectations(stored: Scenario, other: Scenario) -> None:
    """Raises `UsageError` with every difference that is neither an expectation nor a check."""
    differences = same_but_expectations(stored, other)
    if differences:
        raise UsageError(
            "\n".join(differences),
            hint="recheck judges what was run: only expectations and checks may differ; "
            "run the scenario to see what it does",
        )
