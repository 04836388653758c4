"""Falsifies a scenario's expectations one at a time: does the lab notice each on one stored run?

An expectation that can be changed without a check failing proves nothing. The function that judges the run
itself also judges every mutant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from lab.errors import UsageError
from lab.evidence.store import Evidence, load_evidence
from lab.judging.case import judge_case, live_findings
from lab.judging.recheck import stored_case
from lab.place import Place
from lab.result import Result, read_result
from lab.scenario.calls import Step
from lab.scenario.checks import Check
from lab.scenario.model import Scenario
from lab.scenario.steps import Parallel
from lab.verdict import Finding, Verdict
from tools.mutation.mutations import mutated_checks, mutated_expects


@dataclass(frozen=True, slots=True)
class Mutant:
    """One falsified expectation, in an otherwise unchanged scenario."""

    description: str  #: "steps[4].expect.error: EPIPE instead of ECONNRESET"
    place: Place
    scenario: Scenario
    check: Check | None  #: the changed check; None if a step was changed


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that nothing noticed, and what was measured in its place."""

    mutant: Mutant
    why: str

    def __str__(self) -> str:
        return f"{self.mutant.place}: {self.mutant.description}: {self.why}"


@dataclass(frozen=True, slots=True)
class Mutation:
    """The fate of a run's mutants."""

    name: str  #: of the case
    mutants: tuple[Mutant, ...]
    survivors: tuple[Survivor, ...]

    @property
    def caught(self) -> int:
        return len(self.mutants) - len(self.survivors)

    @property
    def share(self) -> float:
        """The share caught, 0 to 1; 1 if there are none."""
        return self.caught / len(self.mutants) if self.mutants else 1.0

    def text(self) -> str:
        """The fate as text: one line, and one for each survivor."""
        head = f"{self.name}: {self.caught} of {len(self.mutants)} caught ({100 * self.share:.1f} %)"
        return "\n".join([head, *(f"  survived: {one}" for one in self.survivors)])


def mutants(scenario: Scenario) -> list[Mutant]:
    """Every falsification of every expectation of the steps, and of every check."""
    found: list[Mutant] = []
    rounds: set[tuple[Place, str]] = set()
    for index, step in enumerate(scenario.steps):
        for what, changed in _steps(step, scenario):
            one = (_place(what, changed), what.partition(": ")[2])
            if one in rounds:  # the same line in another round of a `repeat`
                continue
            rounds.add(one)
            steps = (*scenario.steps[:index], changed, *scenario.steps[index + 1 :])
            found.append(Mutant(what, _place(what, changed), replace(scenario, steps=steps), None))
    for index, check in enumerate(scenario.checks):
        for said, other in mutated_checks(check, scenario.used_hosts):
            checks = (*scenario.checks[:index], other, *scenario.checks[index + 1 :])
            what = f"{check.path}: {check.check}.{said}"
            found.append(Mutant(what, check.place, replace(scenario, checks=checks), other))
    return found


def _steps(step: Step, scenario: Scenario) -> Iterator[tuple[str, Step]]:
    """The mutants of one step; for a `parallel`, those of the steps in it."""
    if isinstance(step, Parallel):
        for index, inner in enumerate(step.steps):
            for what, changed in _steps(inner, scenario):
                steps = [*step.steps[:index], changed, *step.steps[index + 1 :]]
                yield what, step.model_copy(update={"steps": steps})
        return
    expect = getattr(step, "expect", None)
    if expect is not None:
        for said, other in mutated_expects(expect, scenario.used_hosts):
            yield f"{step.path}: {step.do}.expect.{said}", step.model_copy(update={"expect": other})


def _place(what: str, step: Step) -> Place:
    """The place of a mutant; a step inside a `parallel` has its own."""
    if isinstance(step, Parallel):
        path = what.split(": ", 1)[0]
        return next((inner.place for inner in step.steps if inner.path == path), step.place)
    return step.place


def mutate(folder: Path) -> Mutation:
    """Falsifies the scenario of a stored run. Raises `UsageError` if that run did not pass."""
    stored = read_result(folder)
    if stored.verdict is not Verdict.PASS:
        raise UsageError(
            f"{folder}: this run ended in {stored.verdict}: only a run that passed can judge mutants"
        )
    return judge_mutants(stored, stored_case(folder, stored).scenario, load_evidence(folder))


def judge_mutants(stored: Result, scenario: Scenario, evidence: Evidence) -> Mutation:
    """Judges all mutants of a scenario on one run's evidence: the pure part of `mutate`."""
    found = tuple(mutants(scenario))
    survivors: list[Survivor] = []
    for mutant in found:
        findings = judge_mutant(mutant, stored, evidence)
        if Verdict.of(finding.verdict for finding in findings) is not Verdict.FAIL:
            survivors.append(Survivor(mutant, _why(mutant, findings)))
    return Mutation(stored.name, found, tuple(survivors))


def judge_mutant(mutant: Mutant, stored: Result, evidence: Evidence) -> tuple[Finding, ...]:
    """Judges only what was changed: everything else passed and does not depend on it."""
    if mutant.check is not None:
        narrow = replace(mutant.scenario, steps=(), checks=(mutant.check,))
    else:
        narrow = replace(mutant.scenario, checks=())
    return judge_case(narrow, evidence, live_findings(stored.findings, narrow))


def _why(mutant: Mutant, findings: Sequence[Finding]) -> str:
    """What was measured, and what the changed expectation allows."""
    key = mutant.description.split(": ")[1].rpartition(".")[2]
    at = [finding for finding in findings if finding.place == mutant.place]
    best = next((finding for finding in at if finding.name.endswith(f".{key}")), at[0] if at else None)
    if best is None:
        return "nothing is judged there"
    allowed = f", allowed {best.tolerance}" if best.tolerance else ""
    return f"it still holds: expected {best.expected}, got {best.actual}{allowed}"


def total(mutations: Sequence[Mutation]) -> tuple[int, int]:
    """How many were caught and how many there were, over several runs."""
    return sum(one.caught for one in mutations), sum(len(one.mutants) for one in mutations)
