"""What the site's policy says of what a scenario asks for beside its own network."""

from __future__ import annotations

from collections.abc import Iterator

from lab.policy import Policy
from lab.scenario.model import Scenario
from lab.scenario.problems import Problem
from lab.scenario.steps import Run, all_steps


def not_permitted(scenario: Scenario, policy: Policy) -> Iterator[Problem]:
    """Each `run` that asks for a capability which `policy` in lab.yml does not name."""
    for step in all_steps(scenario.steps):
        if not isinstance(step, Run):
            continue
        for name in step.held:
            if name not in policy.capabilities:
                there = ", ".join(policy.capabilities) or "nothing"
                text = f"{name} is not allowed by policy.capabilities in lab.yml; allowed: {there}"
                yield Problem(step.place, f"{step.path}.capabilities", text)
