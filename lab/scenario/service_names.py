"""Services, recorded values and step ids that steps and checks name: judged once all hosts are known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from lab.scenario.checks import Check, LogCheck, ServiceCheck, ValueCheck
from lab.scenario.locate import Locator, Path
from lab.scenario.model import Scenario
from lab.scenario.problems import Problem, did_you_mean
from lab.scenario.steps import Call, Kill, Pause, Resume, Run, Start, Step, Stop, WaitFor, all_steps

_NEEDS_ONE = (Start, Stop, ServiceCheck, LogCheck)
_SIGNALS = (Kill, Pause, Resume)


def named_service(element: Step | Check) -> str | None:
    """The service that a step or a check names, if it names one."""
    if isinstance(element, Run):
        return element.in_
    name = getattr(element, "service", None)
    return name if isinstance(name, str) else None


def service_of(scenario: Scenario, element: Step | Check) -> str | None:
    """The service that a step or a check means, named or the host's only one; None where it means none.

    `kill`, `pause` and `resume` that name nothing mean the process of the host's socket calls, and the only
    service of a host that makes none.
    """
    named = named_service(element)
    if named is not None:
        return named
    services = scenario.hosts[element.at].services if hasattr(element, "at") else {}
    if len(services) != 1:
        return None
    only = next(iter(services))
    if isinstance(element, _NEEDS_ONE) or (isinstance(element, WaitFor) and element.log is not None):
        return only
    if isinstance(element, _SIGNALS) and element.process is None and element.run is None:
        calls = any(isinstance(step, Call) and step.at == element.at for step in all_steps(scenario.steps))
        return None if calls else only
    return None


def check_services(scenario: Scenario, locator: Locator) -> Iterator[Problem]:
    """All that dangles: services that a host has not, values that nothing records."""
    elements: list[Step | Check] = [*all_steps(scenario.steps), *scenario.checks]
    for element in elements:
        at = getattr(element, "at", None)
        if isinstance(at, str) and at in scenario.hosts:
            yield from _service(scenario, element, at, locator)
        if isinstance(element, ValueCheck):
            yield from _value(scenario, element, locator)
    yield from _twice(scenario, locator)


def _service(scenario: Scenario, element: Step | Check, at: str, locator: Locator) -> Iterator[Problem]:
    services: Mapping[str, object] = scenario.hosts[at].services
    name = named_service(element)
    key = "in" if isinstance(element, Run) else "service"
    if name is not None and name not in services:
        has = f"it has {', '.join(services)}" if services else "it has none"
        text = f"{at} has no service {name!r}; {has}{did_you_mean(name, services)}"
        yield _at(element, key, text, locator)
    elif name is None and (
        isinstance(element, _NEEDS_ONE) or (isinstance(element, WaitFor) and element.log is not None)
    ):
        if not services:
            yield Problem(element.place, element.path, f"{at} has no service")
        elif len(services) > 1:
            text = f"service is missing: {at} has {', '.join(services)}"
            yield Problem(element.place, element.path, text)


def recorded(scenario: Scenario) -> dict[str, list[str]]:
    """The values that the case records, each with the paths of what records it."""
    found: dict[str, list[str]] = {}
    for step in all_steps(scenario.steps):
        for name in (step.record or {}) if isinstance(step, Run) else ():
            found.setdefault(name, []).append(f"{step.path}.record.{name}")
    for host in scenario.hosts.values():
        for spec in host.services.values():
            for name in spec.record:
                found.setdefault(name, []).append(f"{spec.path}.record.{name}")
    return found


def _value(scenario: Scenario, check: ValueCheck, locator: Locator) -> Iterator[Problem]:
    known = recorded(scenario)
    if check.of not in known:
        has = f"recorded are {', '.join(known)}" if known else "nothing is recorded"
        yield _at(check, "of", f"no value {check.of!r}; {has}{did_you_mean(check.of, known)}", locator)


def _twice(scenario: Scenario, locator: Locator) -> Iterator[Problem]:
    for name, paths in recorded(scenario).items():
        for path in paths[1:]:
            yield replace(
                locator.at_key(keys_of(path), f"{name!r} is recorded already, by {paths[0]}"), path=path
            )


def _at(element: Step | Check, key: str, text: str, locator: Locator) -> Problem:
    return locator.at((*keys_of(element.path), key), text)


def keys_of(path: str) -> Path:
    """`steps[3].steps[0]` taken apart."""
    return tuple(
        int(part[1:-1]) if part.startswith("[") else part
        for part in re.findall(r"\[[0-9]+\]|[^.\[\]]+", path)
    )
