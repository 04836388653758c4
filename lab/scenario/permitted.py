"""Judges what a scenario requests beyond its own network by the site's policy."""

from __future__ import annotations

from collections.abc import Iterator

from lab.policy import Policy
from lab.scenario.model import Scenario
from lab.scenario.problems import Problem
from lab.scenario.steps import Run, all_steps


def not_permitted(scenario: Scenario, policy: Policy) -> Iterator[Problem]:
    """Each `run` that requests a capability that `policy` in lab.yml does not name."""
    for step in all_steps(scenario.steps):
        if not isinstance(step, Run):
            continue
        for name in step.held:
            if name not in policy.capabilities:
                there = ", ".join(policy.capabilities) or "nothing"
                text = f"{name} is not allowed by policy.capabilities in lab.yml; allowed: {there}"
                yield Problem(step.place, f"{step.path}.capabilities", text)
