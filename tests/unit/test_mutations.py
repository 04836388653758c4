"""Each kind of expectation about a program is falsified, and in no two ways that say the same."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from lab.scenario.load import load
from tools.mutation.mutate import mutants
from tools.mutation.mutations import mutated_checks

HOSTS = (
    "hosts: {web: {service: {image: x, command: [x], record: {hit: '/(x)/'}}}}\n"
    "steps: [{do: run, at: client, command: [x], timeout: 1s, expect: {error: timeout}}]\n"
)


def said(tmp_path: Path, check: str) -> list[str]:
    (tmp_path / "s.yml").write_text(f"lab: 1\n{HOSTS}checks: [{check}]\n")
    scenario = load(tmp_path / "s.yml")[0].scenario
    return [what for what, _ in mutated_checks(scenario.checks[0], scenario.used_hosts)]


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("{check: service, at: web, exit: 0}", ["exit: 1 instead of 0"]),
        ("{check: service, at: web, running: true}", ["running: false instead of true"]),
        ("{check: service, at: web, stdout: up}", ["stdout: 'up mutant' instead of 'up'"]),
        ("{check: log, at: web, match: /GET/, count: 0}", ["count: 1 instead of 0"]),
        ("{check: log, at: web, match: /GET/, count: {max: 2}}", ["count: at least 3 instead of at most 2"]),
        (
            "{check: log, at: web, match: /GET/, stream: stderr}",
            [
                "count: 0 instead of at least one",
                "match: /(?:GET) mutant/ instead of /GET/",
                "stream: stdout instead of stderr",
            ],
        ),
        ("{check: value, of: hit, is: {max: 2}}", ["is: at least 3 instead of at most 2"]),
        ("{check: value, of: hit, is: 2}", ["is: at least 3 instead of 2", "is: at most 1 instead of 2"]),
    ],
)
def test_of_a_check(tmp_path: Path, check: str, changes: list[str]) -> None:
    assert said(tmp_path, check) == changes


def test_a_value_is_falsified_beyond_its_bounds(tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text(f"lab: 1\n{HOSTS}checks: [{{check: value, of: hit, is: {{max: 2}}}}]\n")
    scenario = load(tmp_path / "s.yml")[0].scenario
    ((_, changed),) = mutated_checks(scenario.checks[0], scenario.used_hosts)
    assert not changed.is_.holds(Decimal(2))
    assert changed.is_.holds(Decimal(3))


def test_the_end_of_a_program_is_falsified(tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text(f"lab: 1\n{HOSTS}")
    found = [one.description for one in mutants(load(tmp_path / "s.yml")[0].scenario)]
    assert [one.rpartition("expect.")[2] for one in found] == [
        "error: killed instead of timeout",
        "error: none instead of timeout",
    ]
