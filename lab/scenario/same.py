"""Whether another scenario can judge a stored run: the two may differ only in what they expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from msgspec import Struct

from lab.scenario.calls import Step
from lab.scenario.model import Scenario
from lab.scenario.steps import Await, Parallel

#: What determines how a case is run, besides its steps and hosts. Name, summary, tags and `alone` do not.
_HOW = ("timeout", "requires", "arp")


def same_but_expectations(a: Scenario, b: Scenario) -> list[str]:
    """All differences of `b` from `a`, except in the steps' `expect`, the checks and the description; each a
    line with the place in `b`. Empty: `b` can judge a run of `a`."""
    return list(_differences(a, b))


def _differences(a: Scenario, b: Scenario) -> Iterator[str]:
    for name in _HOW:
        yield from _changed(name, getattr(a, name), getattr(b, name))
    for name in dict.fromkeys([*a.hosts, *b.hosts]):
        if name in a.hosts and name in b.hosts:
            yield from _changed(f"hosts.{name}", a.hosts[name], b.hosts[name])
        elif name in b.hosts:
            yield f"hosts.{name}: not a host of the stored scenario"
        elif name in a.used_hosts:
            yield f"hosts.{name}: a host of the stored scenario, not of this one"
    stored = set(a.used_hosts)
    for check in b.checks:
        for host in check.hosts():
            if host in b.hosts and host not in stored:
                yield f"{check.place}: {check.path}: host {host} took no part in the stored run"
    yield from _steps(a.steps, b.steps)


def _steps(a: tuple[Step, ...] | list[Step], b: tuple[Step, ...] | list[Step]) -> Iterator[str]:
    for old, new in zip(a, b, strict=False):
        where = f"{new.place}: {new.path}"
        if old.do != new.do:
            yield f"{where}.do: {new.do} here, {old.do} in the stored scenario"
            continue
        for name in type(old).model_fields:
            if name == "expect" or (name == "steps" and isinstance(old, Parallel)):
                continue
            if name == "id_" and not isinstance(old, Await) and old.id_ != new.id_:
                yield f"{where}.id: {new.id} here, {old.id} in the stored scenario"
                continue
            key = name.removesuffix("_")
            for line in _changed(key, getattr(old, name), getattr(new, name)):
                yield f"{where}.{line}"
        if isinstance(old, Parallel) and isinstance(new, Parallel):
            yield from _steps(old.steps, new.steps)
    for extra in b[len(a) :]:
        yield f"{extra.place}: {extra.path}: {extra.do} is not a step of the stored scenario"
    for missing in a[len(b) :]:
        yield f"{missing.path}: {missing.do} is a step of the stored scenario, not of this one"


def _changed(path: str, old: Any, new: Any) -> Iterator[str]:
    """The differences, as deep as values have fields: `hosts.client.link.up.delay: 6ms here, 5ms …`."""
    if old == new:
        return
    names = _compared(type(old))
    if names and type(old) is type(new):
        for name in names:
            yield from _changed(f"{path}.{name}", getattr(old, name), getattr(new, name))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from _changed(f"{path}.{name}", old.get(name), new.get(name))
    else:
        yield f"{path}: {_word(new)} here, {_word(old)} in the stored scenario"


def _compared(kind: type[Any]) -> tuple[str, ...]:
    """The fields in which two values of a type may differ; none for what is shown as one word."""
    if "__str__" in vars(kind):
        return ()
    if issubclass(kind, Struct):
        return kind.__struct_fields__
    return tuple(field.name for field in fields(kind) if field.compare) if is_dataclass(kind) else ()


def _word(value: Any) -> str:
    if _compared(type(value)):
        return "something"
    return "nothing" if value is None or value == () else str(value)
