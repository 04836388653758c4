"""The services, recorded values and step ids of programs that steps and checks name.

Dangling names are found in the filled data, as in `lab.scenario.references`: a wrong value elsewhere hides
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lab.scenario.checks import CHECKS, LogCheck, ServiceCheck, ValueCheck
from lab.scenario.locate import Locator
from lab.scenario.locate import Path as Keys
from lab.scenario.problems import Problem, did_you_mean, path_text
from lab.scenario.references import Item, items
from lab.scenario.steps import STEPS, Run, Start, Stop, WaitFor

_NEEDS_ONE = (Start, Stop, ServiceCheck, LogCheck)

Services = Mapping[str, Collection[str]]


def services_of(data: Any, topology: Services) -> dict[str, list[str]]:
    """The services of each host, of the topology and of the filled data."""
    found = {host: list(services) for host, services in topology.items()}
    for host, keys in _mapping(_mapping(data).get("hosts")).items():
        there = found.setdefault(host, [])
        keys = _mapping(keys)
        named = _mapping(keys.get("services"))
        if "service" in keys and len(there) != 1:
            named = {host: None, **named}
        there += [name for name in named if name not in there]
    return found


def check_service_names(
    data: Any, services: Services, recorded: Mapping[str, str], locator: Locator
) -> Iterator[Problem]:
    """All dangling names. `recorded` are the values that the topology's services record, and where."""
    data = _mapping(data)
    values = dict(recorded)
    hosts = _mapping(data.get("hosts"))
    for host, keys in hosts.items():
        for path, service in _services(host, _mapping(keys)):
            yield from _records(service, path, values, locator)
    steps = list(_all(items(data.get("steps"), ("steps",), STEPS, "do")))
    for item in steps:
        if item.cls is Run:
            yield from _records(item.keys, item.path, values, locator)
    known = [name for item in steps if (name := item.text("id")) is not None]
    for item in [*steps, *items(data.get("checks"), ("checks",), CHECKS, "check")]:
        yield from _service(item, services, locator)
        if item.cls is ValueCheck and isinstance(name := item.get("of"), str) and name not in values:
            has = f"recorded are {', '.join(values)}" if values else "nothing is recorded"
            yield locator.at((*item.path, "of"), f"no value {name!r}; {has}{did_you_mean(name, values)}")
        for key in ("after",) if item.cls is WaitFor else ():
            if isinstance(name := item.get(key), str) and name not in known:
                has = f"allowed: {', '.join(known)}" if known else "there is none"
                text = f"no step has the id {name!r}; {has}{did_you_mean(name, known)}"
                yield locator.at((*item.path, key), text)


def _services(host: str, keys: dict[str, Any]) -> Iterator[tuple[Keys, dict[str, Any]]]:
    yield ("hosts", host, "service"), _mapping(keys.get("service"))
    for name, service in _mapping(keys.get("services")).items():
        yield ("hosts", host, "services", name), _mapping(service)


def _records(keys: dict[str, Any], path: Keys, values: dict[str, str], locator: Locator) -> Iterator[Problem]:
    for name in _mapping(keys.get("record")):
        at = (*path, "record", name)
        if name in values:
            yield locator.at_key(at, f"{name!r} is already recorded, by {values[name]}")
        values.setdefault(name, path_text(at))


def _service(item: Item, known: Services, locator: Locator) -> Iterator[Problem]:
    at = item.text("at")
    if at is None or at not in known or item.cls is None:
        return
    services = known[at]
    key = "in" if item.cls is Run else "service"
    name = item.text(key)
    if name is not None and key in item.cls.yaml_keys():
        if name not in services:
            has = f"it has {', '.join(services)}" if services else "it has none"
            text = f"{at} has no service {name!r}; {has}{did_you_mean(name, services)}"
            yield locator.at(item.at(key), text)
    elif item.get(key) is None and (
        issubclass(item.cls, _NEEDS_ONE) or (item.cls is WaitFor and item.get("log") is not None)
    ):
        if not services:
            yield locator.at(item.path, f"{at} has no service")
        elif len(services) > 1:
            yield locator.at(item.path, f"service is missing: {at} has {', '.join(services)}")


def _all(found: Iterator[Item]) -> Iterator[Item]:
    for item in found:
        yield item
        if item.keys.get("do") == "parallel":
            yield from items(item.get("steps"), (*item.path, "steps"), STEPS, "do")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
